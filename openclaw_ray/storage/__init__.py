"""What survives: one SQLite file, its schema, the one row mapping, and the repositories over it.

The only place that knows sqlite3. Must not know asyncio's callers, Ray or any rule of scheduling.
"""
