"""Phones over the ``adb`` program: finding it, calling it safely, and running packages on what it reaches."""
