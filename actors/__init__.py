"""The Ray shells: each actor holds one part of openclaw_ray.runtime and forwards to it. They know Ray and no rules.

A real import package beside `openclaw_ray`, shipped in the same wheel: one name in drivers, workers and submitted jobs.
"""
