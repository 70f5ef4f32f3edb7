#include "repl/fake.h"

#include <fcntl.h>
#include <openssl/err.h>

static void fake_transfer(struct fake *fake)
{
	BIO *out = SSL_get_wbio(fake->ssl), *in = SSL_get_rbio(fake->ssl);
	uint8_t bytes[4096];
	ssize_t n;
	int pending;

	while ((pending = BIO_read(out, bytes, sizeof(bytes))) > 0) {
		fake->recorded = realloc(fake->recorded, fake->n_recorded + (size_t)pending);
		assert_non_null(fake->recorded);
		memcpy(fake->recorded + fake->n_recorded, bytes, (size_t)pending);
		fake->n_recorded += (size_t)pending;
		for (int done = 0; done < pending && !fake->closed;) {
			n = send(fake->fd, bytes + done, (size_t)(pending - done),
			         MSG_NOSIGNAL | MSG_DONTWAIT);
			if (n > 0)
				done += (int)n;
			else if (n < 0 && errno == EAGAIN)
				testing_run(fake->base);
			else
				fake->closed = true;
		}
	}
	if (fake->deaf)
		return;
	while ((n = recv(fake->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		assert_int_equal(BIO_write(in, bytes, (int)n), n);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		fake->closed = true;
}

static struct fake *fake_new(struct event_base *base, const struct repl_config *config, int fd,
                             bool dial)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	char error[256];
	int r;

	assert_non_null(fake);
	fake->base = base;
	fake->fd = fd;
	assert_int_equal(tls_new(&fake->tls, config, error, sizeof(error)), 0);
	fake->ssl = dial ? tls_dial(fake->tls, fd) : tls_accept(fake->tls, fd);
	assert_non_null(fake->ssl);
	SSL_set_bio(fake->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(fake->ssl), -1);
	for (int64_t until_us = testing_now_us() + 10000000;;) {
		ERR_clear_error();
		r = SSL_do_handshake(fake->ssl);
		fake_transfer(fake);
		if (r == 1 || fake->closed || SSL_get_error(fake->ssl, r) == SSL_ERROR_SSL)
			return fake;
		assert_true(testing_now_us() < until_us);
		testing_run(base);
	}
}

struct fake *fake_dial(struct event_base *base, const struct repl_config *config, uint16_t port)
{
	return fake_new(base, config, testing_connect(port), true);
}

struct fake *fake_accept(struct event_base *base, const struct repl_config *config, int listener)
{
	int fd;

	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (int64_t until_us = testing_now_us() + 10000000;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			return fake_new(base, config, fd, false);
		assert_true(testing_now_us() < until_us);
		testing_run(base);
	}
}

void fake_free(struct fake *fake)
{
	SSL_free(fake->ssl);
	tls_free(fake->tls);
	close(fake->fd);
	free(fake->recorded);
	free(fake);
	ERR_clear_error();
}

void fake_send(struct fake *fake, const void *bytes, size_t n)
{
	size_t done;

	ERR_clear_error();
	if (SSL_write_ex(fake->ssl, bytes, n, &done) == 1)
		assert_int_equal(done, n);
	fake_transfer(fake);
}

static void fake_receive(struct fake *fake)
{
	size_t n = 0;

	fake_transfer(fake);
	ERR_clear_error();
	while (fake->n_in < sizeof(fake->in) && SSL_read_ex(fake->ssl, fake->in + fake->n_in,
	                                                    sizeof(fake->in) - fake->n_in, &n) == 1)
		fake->n_in += n;
	ERR_clear_error();
}

const uint8_t *fake_frame(struct fake *fake, struct wire_header *header)
{
	static uint8_t payload[WIRE_FRAME_MAX];
	int64_t until_us = testing_now_us() + 10000000;
	size_t n;

	for (;;) {
		bool was_closed = fake->closed;

		fake_receive(fake);
		if (wire_decode_header(fake->in, fake->n_in, header) == 0 &&
		    fake->n_in >= WIRE_HEADER_BYTES + header->n_payload)
			break;
		if (was_closed)
			return NULL;
		assert_true(testing_now_us() < until_us);
		testing_run(fake->base);
	}
	n = WIRE_HEADER_BYTES + header->n_payload;
	memcpy(payload, fake->in + WIRE_HEADER_BYTES, header->n_payload);
	memmove(fake->in, fake->in + n, fake->n_in - n);
	fake->n_in -= n;
	return payload;
}

const uint8_t *fake_expect(struct fake *fake, enum wire_type type, size_t *n_payload)
{
	struct wire_header header;
	const uint8_t *payload;

	do {
		payload = fake_frame(fake, &header);
		assert_non_null(payload);
	} while (header.type != type);
	*n_payload = header.n_payload;
	return payload;
}

void fake_wait_closed(struct fake *fake)
{
	struct wire_header header;

	while (fake_frame(fake, &header))
		;
	assert_true(fake->closed);
}

struct wire_hello fake_hello(const char *node, const char *group)
{
	struct wire_hello hello = {
	    .version = WIRE_VERSION,
	    .dialect = (uint32_t)OpenSSL_version_num(),
	    .epoch = 77,
	    .wall_ms = repl_clock_system.wall_ms(NULL),
	    .heartbeat_ms = 200,
	};

	snprintf(hello.node, sizeof(hello.node), "%s", node);
	snprintf(hello.group, sizeof(hello.group), "%s", group);
	return hello;
}

static uint8_t frame_bytes[WIRE_FRAME_MAX];

static void fake_send_frame(struct fake *fake, const struct wire_writer *writer)
{
	assert_false(writer->failed);
	fake_send(fake, writer->start, (size_t)(writer->at - writer->start));
}

void fake_say_hello(struct fake *fake, const struct wire_hello *hello)
{
	struct wire_writer writer = wire_writer(frame_bytes, sizeof(frame_bytes));

	wire_encode_hello(&writer, hello);
	fake_send_frame(fake, &writer);
}

void fake_say_answer(struct fake *fake, const struct wire_hello *hello)
{
	struct wire_writer writer = wire_writer(frame_bytes, sizeof(frame_bytes));

	wire_encode_hello_answer(&writer, hello);
	fake_send_frame(fake, &writer);
}

void fake_say_number(struct fake *fake, enum wire_type type, uint64_t number)
{
	struct wire_writer writer = wire_writer(frame_bytes, sizeof(frame_bytes));

	wire_encode_number(&writer, type, number);
	fake_send_frame(fake, &writer);
}

void fake_say_ack(struct fake *fake, uint64_t position, uint64_t n_records)
{
	struct wire_writer writer = wire_writer(frame_bytes, sizeof(frame_bytes));

	wire_encode_ack(&writer, &(struct wire_ack){position, n_records});
	fake_send_frame(fake, &writer);
}

void fake_say_record(struct fake *fake, uint64_t end, const char *id, const char *der)
{
	struct wire_writer writer = wire_writer(frame_bytes, sizeof(frame_bytes));
	struct table_record record = {
	    .id = (const uint8_t *)id,
	    .n_id = strlen(id),
	    .der = (const uint8_t *)der,
	    .n_der = strlen(der),
	    .expires_s = repl_clock_system.wall_ms(NULL) / 1000 + 300,
	};
	uint8_t *frame = wire_records_begin(&writer);

	assert_true(wire_records_add(&writer, &record));
	wire_records_end(&writer, frame, end);
	fake_send_frame(fake, &writer);
}
