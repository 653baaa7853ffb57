/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bound of the program, with its unit and its reason. Reaching one refuses new work or ends the one thing that
 * reached it, moves a counter (metrics.def: gauze_limit_hits, label `limit` = the name below in lower case) and has a
 * test. What old work holds is never taken away.
 */
#ifndef GAUZE_BASE_LIMITS_H
#define GAUZE_BASE_LIMITS_H

/* ---- connections and handshakes ---- */
/* Defaults of GAUZE_POD_CONNECTIONS and GAUZE_CONNECTIONS. */
/* Accepted connections and tunnelled streams of one pod: a storm in one pod leaves room for the others. */
#define LIMIT_POD_FLOWS 32768
/* The same over all pods of the process; about 1 GB at the memory a busy flow takes. */
#define LIMIT_PROCESS_FLOWS 262144
enum {
	/* TLS handshakes that have begun and not ended, per worker: each costs a millisecond of the core. */
	LIMIT_HANDSHAKES = 512,
	/* A handshake that stalls is given up (contract section 14). */
	LIMIT_HANDSHAKE_MS = 10 * 1000,
	/* TCP connect, upstream and application (contract sections 5.4, 6.1). */
	LIMIT_CONNECT_MS = 10 * 1000,
	/* Handshakes with a listening socket that is about to close: most take a fraction of it, and those that take
	 * longer the kernel moves (contract section 12). */
	LIMIT_HAND_OVER_MS = 50,
	/* Sockets of one worker: every flow has two. */
	LIMIT_WORKER_CONNS = 2 * LIMIT_PROCESS_FLOWS,
	/* Descriptors kept free for accept, ZDS and admin when the rest is used. */
	LIMIT_FDS_RESERVED = 64,
};

/* ---- HTTP/2 (contract section 5.3, 5.4) ---- */
enum {
	LIMIT_H2_STREAMS_SERVER = 200,
	LIMIT_H2_HEADER_BYTES_SERVER = 65536,
	LIMIT_H2_HEADER_BYTES_CLIENT = 16384,
	/* Streams a peer may open and reset, and PING or SETTINGS frames it may send, per second: no honest peer
	 * comes near (contract section 14). */
	LIMIT_H2_RESETS_PER_S = 1000,
	LIMIT_H2_CONTROL_FRAMES_PER_S = 1000,
	/* CONTINUATION frames of one head: the largest head fits in five frames of the smallest size. */
	LIMIT_H2_CONTINUATIONS = 8,
};

/* ---- names ---- */
enum {
	/* Lookups of workload host names that wait for the resolver. */
	LIMIT_NAMES_WAITING = 4096,
};

/* ---- bytes ---- */
enum {
	/* Received bytes of all streams of one tunnel that wait for their receivers; a single stream's are bounded by
	 * its window (HTTP2_STREAM_WINDOW_SIZE). */
	LIMIT_TUNNEL_BUFFERED = 16 * 1024 * 1024,
	/* Free slabs a worker keeps for reuse while it is busy. */
	LIMIT_SLABS_CACHED = 4,
	/* Receive slots of a worker: what may be in the kernel's hands or unread at once. */
	LIMIT_WORKER_SLOTS = 1024,
};
/* All buffers of one worker: beyond it new flows are refused and receiving waits. */
#define LIMIT_WORKER_BUFFERED (512ULL * 1024 * 1024)
/*
 * Bytes that the flows of one pod hold on one worker: beyond it new flows of that pod are refused, so that the peers of one
 * pod, by not reading, cannot stop all pods of the worker. The blocks that hold them may be twice as large.
 */
#define LIMIT_POD_BUFFERED (LIMIT_WORKER_BUFFERED / 4)

/* ---- what peers send ---- */
enum {
	/* Longest authority: a DNS name (253), brackets and a port. */
	LIMIT_AUTHORITY_BYTES = 320,
	/* One `baggage` value: ten times what seven fields of ordinary length need. */
	LIMIT_BAGGAGE_BYTES = 8192,
	LIMIT_FORWARDED_BYTES = 1024,
	/* Admin, readiness and metrics requests (contract section 9). */
	LIMIT_ADMIN_HEAD_BYTES = 8192,
	/* Of each of those ports: probes, scrapers and one or two people. */
	LIMIT_ADMIN_CONNECTIONS = 256,
	LIMIT_ADMIN_HEAD_MS = 2000,
};

/* ---- static file (contract section 3.8) ---- */
enum {
	/* Text of a file; 50,000 workloads take about 40 MB. */
	LIMIT_STATIC_BYTES = 256 * 1024 * 1024,
	/* Values in it, aliases counted as what they stand for: "billion laughs" ends here. */
	LIMIT_STATIC_NODES = 16 * 1024 * 1024,
	/* Nesting; the format itself needs twelve levels. */
	LIMIT_STATIC_DEPTH = 32,
	/* Anchors that aliases may refer to. */
	LIMIT_STATIC_ANCHORS = 1024,
	/* Errors that are told, the rest is counted. */
	LIMIT_STATIC_ERRORS = 20,
};

/* ---- telemetry ---- */
enum {
	/* Lines that wait for the log's writer; producers block beyond (contract section 10). */
	LIMIT_LOG_LINES = 10000,
	/* One line, longer ones are cut and marked. */
	LIMIT_LOG_LINE_BYTES = 4096,
	/* Lines per second and kind about peers that misbehave; the rest is counted. */
	LIMIT_LOG_PEER_LINES_PER_S = 10,
	/* Threads that may log or count. */
	LIMIT_THREADS = 256,
	/* Labelled series a thread keeps per family; beyond it idle ones go, then "overflow" takes the figures. */
	LIMIT_SERIES = 10000,
	/* One scrape: ten thousand series of every traffic family. */
	LIMIT_METRICS_TEXT_BYTES = 256 * 1024 * 1024,
};

#endif
