"""Measurements of the whole system and of its hot parts: ``python -m benchmarks``. One module per question.

Nothing here asserts on seconds: a figure is printed, written to ``build/bench`` and compared by people, beside a bound
measured in the same run wherever there is one.
"""
