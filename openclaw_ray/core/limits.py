"""Every limit by name, with its reason. What an operator may change is a setting (config.py) that starts from here."""

KIB, MIB, GIB = 1024, 1024**2, 1024**3

#: Ids stand in file names, metrics and URLs: short and plain.
ID_LEN_MAX = 128
#: Fits one line of a terminal twice over.
NAME_LEN_MAX = 200
#: Enough for a paragraph; longer text belongs into a file.
DESCRIPTION_LEN_MAX = 4_000
#: A tag is a word, and a row shows them all.
TAG_LEN_MAX, TAGS_MAX = 64, 32
#: A task that needs more skills than this is several tasks.
SKILLS_PER_TASK_MAX = 64
#: Skills that one node offers; a registry page holds them.
SKILLS_PER_NODE_MAX = 10_000
#: Fan-in of one task.
DEPENDENCIES_MAX = 1_000
#: Deeper JSON is an accident or an attack, and recursion in readers is real.
NESTING_MAX = 64
#: Larger parameters and results go by reference (a file, a URL); these are read and written whole.
PARAMS_BYTES_MAX, RESULT_BYTES_MAX = 1 * MIB, 4 * MIB
#: Words about a task, not its data: every list that shows the task carries them.
METADATA_BYTES_MAX = 64 * KIB
#: One submit: one transaction that must not stall the others.
SUBMIT_BATCH_MAX, SUBMIT_BYTES_MAX = 10_000, 16 * MIB
#: One poll reply or report.
MESSAGE_ITEMS_MAX, MESSAGE_BYTES_MAX = 1_000, 16 * MIB
#: Waiting tasks in memory at 1 KB each are 1 GB.
WAITING_TASKS_MAX = 1_000_000
#: The text of one call, read whole before it is looked at: the largest is the registration of an agent that was away
#: and brings its unjudged outcomes.
BODY_BYTES_MAX = 256 * MIB
#: Levels of a message around the values of users in it.
ENVELOPE_LEVELS = 8
#: Whole numbers as SQLite keeps them.
INTEGER_MAX = 2**63 - 1
#: Rows of one page of any list.
PAGE_MAX = 1_000
#: What is kept of one output stream of one attempt.
OUTPUT_BYTES_MAX = 64 * KIB
#: Error text of an attempt: a traceback, not a log.
ERROR_TEXT_MAX = 16 * KIB
#: All that is kept of one error, as JSON: a traceback of which each letter may take four bytes, and a message.
ERROR_BYTES_MAX = 128 * KIB
#: A word of what a program says while it runs, and what of it a report may hold; it is shown on one line.
PROGRESS_WORDS_MAX, PROGRESS_LEN_MAX = 200, 500
#: Why a node does not offer a skill: a sentence.
REASON_LEN_MAX = 500
#: The author's own word for a version, a Python version, the place where a skill was found.
VERSION_LEN_MAX, PATH_LEN_MAX = 64, 4_096
#: Words of a command line, and letters of one.
ARGV_MAX, WORD_LEN_MAX = 256, 4_096
#: Ten years in seconds: longer timeouts are typing errors.
TIMEOUT_S_MAX = 315_360_000
RETRIES_MAX = 1_000
#: Amounts of one resource, in what people write (CPUs, bytes): far beyond any machine, safe in 64 bits when times 1000.
RESOURCE_MAX = 2**50
RESOURCE_NAMES_MAX = 16
SLOTS_MAX = 10_000
#: Serialised function of a skill.
CODE_BYTES_MAX = 4 * MIB
