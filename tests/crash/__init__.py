"""Crash tests: a simulated machine that can lose power, die, fail and fill up at every single event."""
