"""A simulator: the real coordinator, dispatcher, agents and client in one process, on virtual time, under faults.

`world.run(plan)` carries out one plan and answers the evidence; `checker.violations(evidence)` judges it. How to use it
stands in docs/simulator.md. It runs beside a cluster, never inside one.
"""
