"""Fuzzers: damaged and hostile inputs, tried one after another, bounded in number, time and memory."""
