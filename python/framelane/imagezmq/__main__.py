"""Prints this user's pin on this machine."""

from . import own_pin

print(own_pin())
