-- The first schema. The first columns of nodes and tasks are a contract (names, types, defaults, order).
-- Times are ISO-8601 UTC text, lists and mappings canonical JSON.

CREATE TABLE nodes (
    node_id TEXT PRIMARY KEY,
    hostname TEXT NOT NULL,
    platform TEXT NOT NULL,
    arch TEXT NOT NULL,
    status TEXT NOT NULL,
    cpu_usage REAL DEFAULT 0,
    memory_usage REAL DEFAULT 0,
    disk_usage REAL DEFAULT 0,
    available_skills TEXT,
    max_concurrent_tasks INTEGER DEFAULT 5,
    running_tasks INTEGER DEFAULT 0,
    ip_address TEXT,
    tailscale_ip TEXT,
    port INTEGER,
    total_tasks_processed INTEGER DEFAULT 0,
    successful_tasks INTEGER DEFAULT 0,
    failed_tasks INTEGER DEFAULT 0,
    average_execution_time REAL DEFAULT 0,
    registered_at TIMESTAMP,
    last_heartbeat TIMESTAMP,
    tags TEXT,
    agent INTEGER NOT NULL DEFAULT 0,        -- 1: a NodeAgent owns this id
    incarnation INTEGER NOT NULL DEFAULT 0,  -- number of the owning agent, given by the StateManager
    resources TEXT,                          -- capacity
    offers TEXT,                             -- skill -> revision
    withheld TEXT,                           -- skill -> why it is not offered
    gpus TEXT,
    agent_process TEXT,                      -- which process of its agent registered last
    declared TEXT,                           -- slots and tags as its agent declared them last
    held_reason TEXT,                        -- drained by its owner
    held_by TEXT,
    held_until TIMESTAMP,
    version INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX nodes_status ON nodes (status, node_id);

CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    task_type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    required_skills TEXT,
    optional_skills TEXT,
    status TEXT NOT NULL,
    priority INTEGER DEFAULT 2,
    assigned_node TEXT,
    submitted_at TIMESTAMP,
    scheduled_at TIMESTAMP,
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    parameters TEXT,
    timeout INTEGER,
    retry_count INTEGER DEFAULT 0,
    max_retries INTEGER DEFAULT 3,
    user_id TEXT,
    affinity_tags TEXT,
    result TEXT,
    error TEXT,
    metadata TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    skill TEXT,
    key TEXT,
    group_name TEXT,
    not_before TIMESTAMP,
    deadline TIMESTAMP,
    spec_sha256 TEXT NOT NULL DEFAULT '',
    attempt INTEGER NOT NULL DEFAULT 0,
    lost_count INTEGER NOT NULL DEFAULT 0,
    max_lost INTEGER NOT NULL DEFAULT 3,
    retry_of TEXT,
    required_tags TEXT,
    strategy TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    resources TEXT,
    after TEXT,
    revision TEXT,
    retry_at TIMESTAMP,
    seq INTEGER NOT NULL DEFAULT 0,          -- submission order, given by the StateManager
    token INTEGER NOT NULL DEFAULT 0,        -- the current lease, 0: none
    seated INTEGER NOT NULL DEFAULT 0,       -- 1: the lease holds room, 0: prefilled
    by_hand INTEGER NOT NULL DEFAULT 0       -- 1: a program of its own runs the attempt
);
-- Lists are newest first; each filter has the order in its index.
CREATE INDEX tasks_status ON tasks (status, seq);
CREATE INDEX tasks_seq ON tasks (seq);
CREATE INDEX tasks_pending ON tasks (priority, seq) WHERE status = 'pending';
CREATE INDEX tasks_node ON tasks (assigned_node, seq) WHERE assigned_node IS NOT NULL;
CREATE INDEX tasks_user ON tasks (user_id, seq) WHERE user_id IS NOT NULL;
CREATE INDEX tasks_skill ON tasks (skill, seq) WHERE skill IS NOT NULL;
CREATE INDEX tasks_group ON tasks (group_name, seq) WHERE group_name IS NOT NULL;
CREATE INDEX tasks_completed ON tasks (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_key ON tasks (key) WHERE key IS NOT NULL;

CREATE TABLE attempts (
    token INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    node_id TEXT,
    outcome TEXT,                            -- NULL while live
    leased_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    revision TEXT,
    error TEXT,
    exit_status INTEGER,
    signal TEXT,
    peak_memory INTEGER,
    log_tail TEXT,
    by TEXT
);
CREATE INDEX attempts_task ON attempts (task_id, attempt);
CREATE INDEX attempts_open ON attempts (token) WHERE outcome IS NULL;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at TIMESTAMP NOT NULL,
    what TEXT NOT NULL,
    task_id TEXT,
    attempt INTEGER,
    node_id TEXT,
    by TEXT,
    reason TEXT,
    version INTEGER NOT NULL
);
CREATE INDEX events_task ON events (task_id, seq) WHERE task_id IS NOT NULL;
CREATE INDEX events_node ON events (node_id, seq) WHERE task_id IS NULL;

CREATE TABLE skills (
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    manifest TEXT NOT NULL,
    registered_at TIMESTAMP NOT NULL,
    by TEXT,
    seq INTEGER NOT NULL,                    -- grows with every registration; the newest of a name is the highest
    PRIMARY KEY (name, revision)
);
CREATE INDEX skills_seq ON skills (seq);
CREATE INDEX skills_name ON skills (name, seq);

CREATE TABLE code (
    digest TEXT PRIMARY KEY,
    blob BLOB NOT NULL
);

CREATE TABLE counters (                      -- what /metrics counts, in the transaction that makes it true
    family TEXT NOT NULL,
    labels TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (family, labels)
) WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
