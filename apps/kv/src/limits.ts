/** Every bound of the server, in one place, with its reason. Those an operator may want to change are also options. */

/** A command is one Raft entry, and the library takes entries up to this. */
export const ENTRY_BYTES_MAX = 1024 * 1024

/**
 * The longest argument. Redis calls it proto-max-bulk-len (512 MB there); here a longer one could never be replicated.
 */
export const BULK_BYTES_MAX = 1024 * 1024

/** The longest inline request, and the longest line that announces a count or a length; as in Redis. */
export const INLINE_BYTES_MAX = 64 * 1024

/** The most bytes that one command may take here, with `WORD_BYTES` for each of its words; a larger one is refused. */
export const COMMAND_BYTES_MAX = 4 * 1024 * 1024

/** What a string takes beside its bytes: its head, rounded up, and the reference to it. */
export const WORD_BYTES = 32

/** Answers that wait for a client to read them: beyond this its next commands wait, */
export const OUTPUT_SOFT_BYTES_MAX = 1024 * 1024

/** and beyond this the client is cut off. One answer may be this large. */
export const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

/**
 * What the commands of one client that are under way may take, with the answers that they will give: beyond this the
 * next ones wait, so that few answers exist before they are read. The second one counts while memory for clients is
 * scarce.
 */
export const UNDER_WAY_BYTES_MAX = 4 * 1024 * 1024
export const SCARCE_UNDER_WAY_BYTES_MAX = 64 * 1024

/**
 * Commands of one client that are cut out of its bytes, and what they may take, before it is their turn: so far a read
 * sees that a write stands behind it. All else stays as it came.
 */
export const CUT_AHEAD_MAX = 4096
export const CUT_AHEAD_BYTES_MAX = 1024 * 1024

/** A client that has unread answers and reads none of them for so long is cut off; */
export const UNREAD_ANSWERS_MS = 60_000

/** so long, when it has been read as far ahead of them as it may be, and perhaps waits for us to read on. */
export const READ_AHEAD_MS = 5000

/** As in Redis; fewer where the limit of open files is lower (server/descriptors.ts). */
export const CLIENTS_MAX = 10_000

/** How long no client is taken when the system has no descriptor for it. */
export const ACCEPT_PAUSE_MS = 1000

/** An idle connection is asked so often by TCP whether its client is still there; as in Redis. */
export const TCP_KEEPALIVE_MS = 300_000

/** Commands of one client that may be under way at once; further ones wait in the client's socket. */
export const PIPELINE_MAX = 4096

/**
 * Words of one command, and of all commands of one transaction: what one entry can make every server do, at every
 * start. Redis has no such bound; a command of so many keys holds its one thread for as long as it takes.
 */
export const COMMAND_WORDS_MAX = 16 * 1024

/**
 * Words of a command that this server answers by itself, all of it in one go: each may be a pattern of CONFIG GET, or a
 * name of which COMMAND tells all it knows.
 */
export const LOCAL_WORDS_MAX = 128

/** What a client may say that it or its library is called: CLIENT LIST repeats it for every client, in one go. */
export const NAME_BYTES_MAX = 1024

/**
 * Of a client that has not said who it is: the longest argument and the most words of a command, as in Redis; what it
 * may leave unread of its answers; and how long it may stay so.
 */
export const STRANGER_BULK_BYTES_MAX = 16 * 1024
export const STRANGER_WORDS_MAX = 10
export const STRANGER_UNREAD_BYTES_MAX = 64 * 1024
export const STRANGER_MS_MAX = 60_000

/**
 * TLS handshakes that may be under way at once; when there are more, or no place for a client is left, the oldest gives
 * way, so that those that come to nothing keep nobody out. And how long one may take.
 */
export const HANDSHAKES_MAX = 1024
export const HANDSHAKE_MS_MAX = 5000

/** Handshakes that begin in one turn, of half a millisecond or more each: strangers may ask for any number. */
export const HANDSHAKES_PER_TURN = 8

/**
 * Keys that one client watches, and the bytes that they take in the entry of its EXEC; a quarter of what an entry
 * holds.
 */
export const WATCHED_KEYS_MAX = 4096
export const WATCHED_BYTES_MAX = 256 * 1024

/** Keys of the data set: V8 makes no map of more than 2^24, and some are under way when this is noticed. */
export const KEYS_MAX = 16_000_000

/** Keys that one SCAN looks at, whatever its COUNT, which is a hint; a long one counts as several (item.ts). */
export const SCAN_KEYS_MAX = 4096

/**
 * What one turn spends on walks over all keys, on cutting commands out of what has come, on beginning them, on reads,
 * on entries and on writing answers; the rest goes on in the next turn, so that no client keeps the leader from its
 * heartbeats.
 */
export const WALK_SLICE_MS = 5
export const CUT_SLICE_MS = 10
export const RUN_SLICE_MS = 10
export const READ_SLICE_MS = 10
export const APPLY_SLICE_MS = 10
export const FLUSH_SLICE_MS = 10
/**
 * Between two looks at the clock goes so much work, in bytes of commands: short ones would cost less than the look.
 * What may take long, however short it is, counts as all of it.
 */
export const WORK_BY_LOOK = 4096

/**
 * A snapshot is written in pieces of about so many bytes, each in a turn of its own, and read in such slices: a
 * millisecond for short keys. A piece looks at no more keys, of which some were written before they changed.
 */
export const SNAPSHOT_PIECE_BYTES = 64 * 1024
export const SNAPSHOT_PIECE_STEPS = 4096

/**
 * Between two pieces all else gets so many times what the piece took, over as many turns as that needs, unless a turn
 * shows that there is nothing else to do: a tenth of the time goes to a snapshot while there is load, most of
 * it without. What it costs beside its pieces (items set aside, garbage) comes on top.
 */
export const SNAPSHOT_OTHERS_SHARE = 9
export const SNAPSHOT_IDLE_TURN_MS = 0.1

/**
 * What is kept for a snapshot of keys that change before they are written may take so much of `maxmemory` beyond what
 * the data set leaves of it; with more the snapshot is given up, and the log stays as it is. A server that leads takes
 * no command that grows from the first byte on that is beyond, so only what does not grow comes here, and followers.
 */
export const KEPT_BEYOND_SHARE = 1 / 4

/** Walks over all keys that go on at a time; each change of a key is shown to all of them. */
export const WALKS_MAX = 4

/** Commands that a client may queue in one MULTI, and the bytes of one; a longer one could never be one entry. */
export const TRANSACTION_COMMANDS_MAX = 128 * 1024

/**
 * Entries and bytes handed to the library in one call, so that one turn of all clients stays below its queue of 8192
 * entries.
 */
export const BATCH_ENTRIES_MAX = 2048
export const BATCH_BYTES_MAX = 4 * 1024 * 1024

/**
 * Entries and bytes that may wait for the library's answer; beyond this, clients wait. Half of what the library takes.
 */
export const IN_FLIGHT_ENTRIES_MAX = 4096
export const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024

/**
 * While a server asks which cluster it is to join it answers so many clients, each of which may send commands of so
 * many bytes, and leave so many bytes of answers unread.
 */
export const DESK_CLIENTS_MAX = 16
export const DESK_COMMAND_BYTES_MAX = 1024
export const DESK_UNREAD_BYTES_MAX = 256 * 1024

/** How long RAFT waits for a change of the cluster; what is known by then is told, and the change goes on. */
export const CLUSTER_CALL_MS = 60_000

/** How long a leader waits after it could not say where a member's clients find it. */
export const PUBLISH_RETRY_MS = 1000

/** The library is asked to move the data set's clock at most this often. */
export const TIME_ENTRY_INTERVAL_MS = 100

/**
 * After the leader was lost, so long commands wait at a follower for the next one, instead of being sent to a leader
 * that is gone, or told CLUSTERDOWN. Longer than elections take; tools that do not come again by themselves, such as
 * redis-cli, then notice a failover only as a delay. Stale reads wait as long, until this server holds what earlier
 * leaders acknowledged; then they are answered with what is here.
 */
export const LEADER_WAIT_MS = 5000

/** What a server forwards and the leader refuses for now is forwarded again after so long, in its order. */
export const FORWARD_RETRY_MS = 20

/**
 * The answer of an entry that is forwarded may take so much: a megabyte, as the library has it, with what stands before
 * the value (replication/reply-codec.ts).
 */
export const FORWARDED_ANSWER_BYTES_MAX = 1024 * 1024 - 1

/** While clients wait (WAIT) a leader looks so often how far the others are. */
export const WAIT_LOOK_MS = 5

/** How long a closing server may take to hand leadership over, whatever the election timeout is. */
export const HAND_OVER_MS_MAX = 2000

/**
 * A server that closes serves its clients until none has sent a command for so long, and no longer than that: who is
 * told MOVED needs a moment to go.
 */
export const QUIET_MS = 30
export const LINGER_MS_MAX = 300

/** How long a closing server waits for its clients to read their last answers. */
export const CLOSE_GRACE_MS = 1000

/**
 * How long closing may take in all; then the process ends anyway. Less than what the launcher waits before it kills.
 */
export const CLOSE_MAX_MS = 8000
