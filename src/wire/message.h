/*
 * The messages between daemons, version WIRE_VERSION; docs/protocol.md has them to the byte. A
 * connection carries frames: a header {payload length, type} and a payload. Every type has a
 * shortest and a longest payload, checked as soon as the header is there, so what a peer announces
 * never decides how much memory is used.
 *
 * Decoding checks a whole payload, its names and ranges and that nothing trails, before its output
 * is touched; the caller acts only on what it got then. Nothing here allocates, blocks or logs.
 * Records hold secrets: decoding does not copy them, it points into the caller's buffer, which the
 * caller wipes. Ticket keys are few: they are copied out, and the copy is the caller's to wipe, too.
 */
#ifndef TLSBATON_WIRE_MESSAGE_H
#define TLSBATON_WIRE_MESSAGE_H

#include "table/table.h"
#include "ticket/keyring.h"
#include "util/macro.h"
#include "wire/cursor.h"

#define WIRE_VERSION 1
#define WIRE_MAGIC "tlsbaton"
#define WIRE_MAGIC_BYTES 8
#define WIRE_HEADER_BYTES 5
#define WIRE_FRAME_MAX 65536 /* bytes of a frame, header included: four full TLS records */
#define WIRE_HELLO_MAX 4000  /* bytes of the payload of any version's hello or hello answer */
#define WIRE_NAME_MAX 63
#define WIRE_REASON_MAX 240
#define WIRE_CONTROL_MAX 512
#define WIRE_FINGERPRINTS_MAX 64
#define WIRE_FINGERPRINT_BYTES 32
#define WIRE_POLICIES_FRAME_MAX                                                                    \
	(WIRE_HEADER_BYTES + 1 + WIRE_FINGERPRINTS_MAX * WIRE_FINGERPRINT_BYTES)
/* Bytes that precede the records in a RECORDS frame, and that each record takes besides its ID and
 * DER. */
#define WIRE_RECORDS_BYTES (WIRE_HEADER_BYTES + 8)
#define WIRE_RECORD_BYTES 11
/* What precedes the keys in a TICKET_KEYS frame's payload, and what a key takes. */
#define WIRE_TICKET_KEYS_BYTES 13
#define WIRE_TICKET_KEY_BYTES 104
#define WIRE_TICKET_KEYS_FRAME                                                                     \
	(WIRE_HEADER_BYTES + WIRE_TICKET_KEYS_BYTES + KEYRING_KEYS_MAX * WIRE_TICKET_KEY_BYTES)

/* HELLO, HELLO_ANSWER and REFUSE keep their numbers, and all three their first ten payload bytes
 * (magic and version), in every version to come: that is how two versions can tell that they are
 * two. */
enum wire_type {
	WIRE_HELLO = 1,
	WIRE_HELLO_ANSWER,
	WIRE_REFUSE,
	WIRE_RECORDS,
	WIRE_START,
	WIRE_MARK,
	WIRE_ACK,
	WIRE_PING,
	WIRE_PONG,
	WIRE_ROLE,
	WIRE_CONTROL,
	WIRE_TICKET_KEYS,
	WIRE_POLICIES,
};

enum wire_outcome {
	WIRE_MORE = 1,      /* the header is not complete yet */
	WIRE_OTHER_VERSION, /* the hello is of another version: only `version` of the output was set
	                     */
};

enum wire_refusal {
	WIRE_REFUSE_VERSION = 1,
	WIRE_REFUSE_GROUP,
	WIRE_REFUSE_SAME_NAME,
	WIRE_REFUSE_UNKNOWN_NODE,
	WIRE_REFUSE_CERTIFICATE,
};

struct wire_header {
	enum wire_type type;
	size_t n_payload;
};

/* The flags of a role on the wire. */
#define WIRE_ROLE_ACTIVE 1
#define WIRE_ROLE_SERVICE 2
#define WIRE_ROLE_REFUSES 4
#define WIRE_ROLE_WORKERS 8

struct wire_role {
	uint64_t term;
	bool active;          /* it answers for the service address */
	bool has_service;     /* it has one to answer for */
	bool has_workers;     /* servers are connected to it */
	bool refuses_workers; /* and it has refused some of late */
};

struct wire_policies {
	uint8_t n;
	uint8_t fingerprints[WIRE_FINGERPRINTS_MAX][WIRE_FINGERPRINT_BYTES];
};

struct wire_hello {
	uint16_t version;
	char node[WIRE_NAME_MAX + 1];
	char group[WIRE_NAME_MAX + 1];
	uint32_t dialect; /* OpenSSL_version_num(3) of the sender: whose DER the records hold */
	uint64_t epoch;   /* of the sender's table */
	int64_t wall_ms;  /* milliseconds since 1970 when it was sent */
	uint32_t heartbeat_ms;
	struct wire_role role;
	struct wire_policies policies;
	/* In an answer only: up to where the answering node holds the log of the node that said
	 * hello. */
	uint64_t resume_epoch, resume_position;
};

struct wire_refuse {
	uint16_t version;
	enum wire_refusal code; /* a later version may have more */
	char reason[WIRE_REASON_MAX + 1];
};

struct wire_ack {
	uint64_t position;  /* all that ends at or before it is stored */
	uint64_t n_records; /* received over this connection */
};

/* The records of one message. `rest` walks over bytes that wire_decode_records() has checked. */
struct wire_records {
	uint64_t end; /* the position in the sender's log up to which these records complete it */
	size_t n_records;
	struct wire_reader rest;
};

/* Out: the frame's type and payload length. 0, WIRE_MORE, or -EPROTO: unknown type, or a length
 * beyond what the type allows. */
int wire_decode_header(const uint8_t *bytes, size_t n_bytes, struct wire_header *out) MUST_CHECK;

/* Payloads. Each returns 0 or -EPROTO; the hellos also WIRE_OTHER_VERSION. */
int wire_decode_hello(const uint8_t *payload, size_t n, struct wire_hello *out) MUST_CHECK;
int wire_decode_hello_answer(const uint8_t *payload, size_t n, struct wire_hello *out) MUST_CHECK;
int wire_decode_refuse(const uint8_t *payload, size_t n, struct wire_refuse *out) MUST_CHECK;
int wire_decode_records(const uint8_t *payload, size_t n, struct wire_records *out) MUST_CHECK;
int wire_decode_ack(const uint8_t *payload, size_t n, struct wire_ack *out) MUST_CHECK;
int wire_decode_policies(const uint8_t *payload, size_t n, struct wire_policies *out) MUST_CHECK;
int wire_decode_role(const uint8_t *payload, size_t n, struct wire_role *out) MUST_CHECK;
int wire_decode_ticket_keys(const uint8_t *payload, size_t n, struct ticket_state *out) MUST_CHECK;
/* START and MARK: a position; PING and PONG: a token. */
int wire_decode_number(const uint8_t *payload, size_t n, uint64_t *out) MUST_CHECK;

/* The next record, pointing into the payload; false after the last. Flags: 0 or TABLE_TOMBSTONE. */
bool wire_records_next(struct wire_records *records, struct table_record *out) MUST_CHECK;

/* Writes whole frames; a frame that does not fit sets `failed` and leaves half of it: check, then
 * send. */
void wire_encode_hello(struct wire_writer *writer, const struct wire_hello *hello);
void wire_encode_hello_answer(struct wire_writer *writer, const struct wire_hello *hello);
void wire_encode_refuse(struct wire_writer *writer, const struct wire_refuse *refuse);
void wire_encode_ack(struct wire_writer *writer, const struct wire_ack *ack);
void wire_encode_policies(struct wire_writer *writer, const struct wire_policies *policies);
void wire_encode_role(struct wire_writer *writer, const struct wire_role *role);
void wire_encode_number(struct wire_writer *writer, enum wire_type type, uint64_t number);
void wire_encode_ticket_keys(struct wire_writer *writer, const struct ticket_state *keys);
void wire_encode_control(struct wire_writer *writer, const uint8_t *payload, size_t n);

/*
 * A RECORDS frame is written in place: begin, add as many as fit, end. wire_records_add() returns
 * false, and writes nothing, when the record does not fit in the writer any more.
 * wire_records_begin() gives where the frame starts (NULL: no room), which wire_records_end() wants
 * back; to drop an empty frame, set `writer->at` to it.
 */
uint8_t *wire_records_begin(struct wire_writer *writer) MUST_CHECK;
bool wire_records_add(struct wire_writer *writer, const struct table_record *record) MUST_CHECK;
void wire_records_end(struct wire_writer *writer, uint8_t *frame, uint64_t end);

/* 1..WIRE_NAME_MAX bytes of [A-Za-z0-9._-]: what a node or group may be called. */
bool wire_name_valid(const char *name, size_t n);

#endif
