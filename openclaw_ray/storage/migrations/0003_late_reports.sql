-- Outcomes that were refused because the attempt had ended: who said what, and when. Not the results themselves.

CREATE TABLE late_reports (
    task_id TEXT NOT NULL REFERENCES tasks (task_id) ON DELETE CASCADE,
    token INTEGER NOT NULL,                  -- of the attempt that it is about
    outcome TEXT NOT NULL,
    sha256 TEXT NOT NULL,                    -- of the result's JSON text, '' for none
    at TIMESTAMP NOT NULL,                   -- when it was heard first
    node_id TEXT NOT NULL,                   -- who said it
    incarnation INTEGER NOT NULL,
    why TEXT NOT NULL,                       -- why it was refused
    bytes INTEGER NOT NULL,                  -- of the result
    PRIMARY KEY (task_id, token, outcome, sha256)
) WITHOUT ROWID;
