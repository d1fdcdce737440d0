-- What a node failed by for reasons of its own, and until when it is out of service for that.

ALTER TABLE nodes ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;           -- failures that count at present
ALTER TABLE nodes ADD COLUMN fault_at TIMESTAMP;                          -- of the newest
ALTER TABLE nodes ADD COLUMN fault_token INTEGER NOT NULL DEFAULT 0;      -- older attempts failed of the same thing
ALTER TABLE nodes ADD COLUMN fault_successes INTEGER NOT NULL DEFAULT 0;  -- its successful attempts by then
ALTER TABLE nodes ADD COLUMN quarantines INTEGER NOT NULL DEFAULT 0;      -- in a row
ALTER TABLE nodes ADD COLUMN quarantined_until TIMESTAMP;                 -- NULL: it is not quarantined
ALTER TABLE nodes ADD COLUMN quarantine_reason TEXT;
