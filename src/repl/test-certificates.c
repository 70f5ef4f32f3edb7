/* Authentication by certificates: who is let in, in either direction, and who is not. */
#include "repl/fake.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct authority {
	EVP_PKEY *key;
	X509 *certificate;
};

struct files {
	char ca[96], certificate[96], key[96];
};

struct certificates {
	struct event_base *base;
	struct node a, b;
	char directory[64];
	struct authority ours, others;
	unsigned n_files;
};

static X509 *make_certificate(EVP_PKEY *key, const char *cn, const char *dns,
                              const struct authority *issuer)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);
	X509V3_CTX context;
	X509_EXTENSION *extension;
	char san[128];

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(certificate,
	                     issuer ? X509_get_subject_name(issuer->certificate) : name);
	X509V3_set_ctx(&context, issuer ? issuer->certificate : certificate, certificate, NULL,
	               NULL, 0);
	if (dns) {
		snprintf(san, sizeof(san), "DNS:%s", dns);
		extension = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, san);
	} else {
		extension = X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints,
		                                issuer ? "CA:FALSE" : "critical,CA:TRUE");
	}
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(certificate, issuer ? issuer->key : key, EVP_sha256()) > 0);
	return certificate;
}

static void make_authority(struct authority *authority, const char *cn)
{
	authority->key = EVP_EC_gen("P-256");
	authority->certificate = make_certificate(authority->key, cn, NULL, NULL);
}

static void free_authority(struct authority *authority)
{
	EVP_PKEY_free(authority->key);
	X509_free(authority->certificate);
}

static void write_pem(const char *path, X509 *certificate, EVP_PKEY *key)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	if (certificate)
		assert_int_equal(PEM_write_X509(file, certificate), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
}

/* A certificate by `issuer` that names `cn` or, if given, `dns`; its user trusts `trusted`. */
static void use_certificate(struct certificates *certificates, struct repl_config *config,
                            struct files *files, const char *cn, const char *dns,
                            const struct authority *issuer, const struct authority *trusted)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = make_certificate(key, cn, dns, issuer);
	unsigned i = certificates->n_files++;

	snprintf(files->ca, sizeof(files->ca), "%s/%u-ca.pem", certificates->directory, i);
	snprintf(files->certificate, sizeof(files->certificate), "%s/%u-cert.pem",
	         certificates->directory, i);
	snprintf(files->key, sizeof(files->key), "%s/%u-key.pem", certificates->directory, i);
	write_pem(files->ca, trusted->certificate, NULL);
	write_pem(files->certificate, certificate, NULL);
	write_pem(files->key, NULL, key);
	config->group_key = NULL;
	config->ca_file = files->ca;
	config->certificate_file = files->certificate;
	config->private_key_file = files->key;
	EVP_PKEY_free(key);
	X509_free(certificate);
}

static struct files a_files, b_files;

static int setup(void **state)
{
	struct certificates *certificates = calloc(1, sizeof(*certificates));

	certificates->base = event_base_new();
	snprintf(certificates->directory, sizeof(certificates->directory),
	         "/tmp/tlsbaton-repl-XXXXXX");
	assert_non_null(mkdtemp(certificates->directory));
	make_authority(&certificates->ours, "our authority");
	make_authority(&certificates->others, "another authority");
	node_init(&certificates->a, certificates->base, "a", 1 << 20);
	node_init(&certificates->b, certificates->base, "b", 1 << 20);
	node_add_peer(&certificates->a, "b", certificates->b.port);
	node_add_peer(&certificates->b, "a", certificates->a.port);
	use_certificate(certificates, &certificates->a.config, &a_files, "a", NULL,
	                &certificates->ours, &certificates->ours);
	*state = certificates;
	return 0;
}

static int teardown(void **state)
{
	struct certificates *certificates = *state;

	node_deinit(&certificates->a);
	node_deinit(&certificates->b);
	free_authority(&certificates->ours);
	free_authority(&certificates->others);
	for (unsigned i = 0; i < certificates->n_files; i++) {
		static const char *const kinds[] = {"ca", "cert", "key"};
		char path[128];

		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			snprintf(path, sizeof(path), "%s/%u-%s.pem", certificates->directory, i,
			         kinds[k]);
			unlink(path);
		}
	}
	rmdir(certificates->directory);
	event_base_free(certificates->base);
	free(certificates);
	return 0;
}

/* Starts both and expects them in sync, both ways. */
static void assert_in_sync(struct certificates *certificates)
{
	struct node *a = &certificates->a, *b = &certificates->b;

	node_start(a);
	node_start(b);
	run_until(certificates->base,
	          node_state(a, 0) == REPL_IN_SYNC && node_state(b, 0) == REPL_IN_SYNC);
	node_put(a, 0, 10);
	run_until(certificates->base, node_count(b, 0, 10) == 10);
}

/* Starts both and expects that neither gets anywhere with the other. */
static void assert_refused(struct certificates *certificates)
{
	struct node *a = &certificates->a, *b = &certificates->b;

	node_put(a, 0, 10);
	node_put(b, 100, 10);
	node_start(a);
	node_start(b);
	run_until(certificates->base,
	          node_state(a, 0) == REPL_REFUSED && node_state(b, 0) == REPL_REFUSED);
	assert_true(node_stats(a).n_refused_auth + node_stats(a).n_refused_hello > 0);
	assert_int_equal(node_count(a, 100, 10), 0);
	assert_int_equal(node_count(b, 0, 10), 0);
}

static void test_common_name(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "b", NULL,
	                &certificates->ours, &certificates->ours);
	assert_in_sync(certificates);
}

static void test_dns_name(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "something else", "b",
	                &certificates->ours, &certificates->ours);
	assert_in_sync(certificates);
}

static void test_another_authority(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "b", NULL,
	                &certificates->others, &certificates->others);
	assert_refused(certificates);
	assert_non_null(strstr(node_status(&certificates->a, 0).error,
	                       "peer b has a key, or a certificate of another authority ("));
}

/* One side trusts the other, which is not enough. */
static void test_trust_on_one_side(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "b", NULL,
	                &certificates->others, &certificates->ours);
	assert_refused(certificates);
}

static void test_a_certificate_that_names_another_node(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "c", NULL,
	                &certificates->ours, &certificates->ours);
	assert_refused(certificates);
}

/* A DNS name counts, and then the common name does not. */
static void test_a_dns_name_overrides_the_common_name(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "b", "c",
	                &certificates->ours, &certificates->ours);
	assert_refused(certificates);
}

static void test_a_wildcard_is_no_name(void **state)
{
	struct certificates *certificates = *state;

	snprintf(certificates->b.name, sizeof(certificates->b.name), "b.example");
	certificates->a.peers[0].name = certificates->b.name;
	use_certificate(certificates, &certificates->b.config, &b_files, "x", "*.example",
	                &certificates->ours, &certificates->ours);
	assert_refused(certificates);
}

static void test_the_group_key_does_not_help(void **state)
{
	struct certificates *certificates = *state;

	assert_refused(certificates); /* b has the key and no certificate */
}

static void test_certificates_of_another_group(void **state)
{
	struct certificates *certificates = *state;

	use_certificate(certificates, &certificates->b.config, &b_files, "b", NULL,
	                &certificates->ours, &certificates->ours);
	certificates->b.config.group = "h";
	assert_refused(certificates);
	assert_non_null(strstr(node_status(&certificates->a, 0).error, "group"));
	assert_true(node_stats(&certificates->a).n_refused_hello > 0);
}

static void test_files_that_cannot_be_used(void **state)
{
	struct certificates *certificates = *state;
	struct node *a = &certificates->a;
	const char **const files[] = {&a->config.certificate_file, &a->config.private_key_file,
	                              &a->config.ca_file};
	char error[256];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const char *was = *files[i];

		*files[i] = "/nonexistent/file.pem";
		assert_int_equal(repl_new(&a->repl, a->base, &a->config, a->table, &testing_ops, a,
		                          error, sizeof(error)),
		                 -EINVAL);
		assert_non_null(strstr(error, "/nonexistent/file.pem"));
		*files[i] = was;
	}
	/* A key that is another certificate's; and no way to authenticate at all. */
	use_certificate(certificates, &certificates->b.config, &b_files, "b", NULL,
	                &certificates->ours, &certificates->ours);
	a->config.private_key_file = b_files.key;
	assert_int_equal(repl_new(&a->repl, a->base, &a->config, a->table, &testing_ops, a, error,
	                          sizeof(error)),
	                 -EINVAL);
	a->config.certificate_file = NULL;
	assert_int_equal(repl_new(&a->repl, a->base, &a->config, a->table, &testing_ops, a, error,
	                          sizeof(error)),
	                 -EINVAL);
	assert_null(a->repl);
}

#define certificates_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void assert_check(const struct repl_config *config, const char *node, int r, const char *why)
{
	char text[512] = "";
	struct tls *tls = NULL;

	assert_int_equal(tls_new(&tls, config, text, sizeof(text)), 0);
	assert_int_equal(tls_check(tls, node, text, sizeof(text)), r);
	if (!strstr(text, why))
		fail_msg("\"%s\" lacks \"%s\"", text, why);
	tls_free(tls);
}

/* What a check says before a peer does. */
static void test_own_certificate(void **state)
{
	struct certificates *certificates = *state;
	struct repl_config *b = &certificates->b.config;
	char text[512];
	struct tls *tls = NULL;

	assert_check(&certificates->a.config, "a", 0, "");
	assert_check(&certificates->a.config, "b", -EINVAL, "have one issued for \"b\"");
	use_certificate(certificates, b, &b_files, "x", "b", &certificates->ours,
	                &certificates->ours);
	assert_check(b, "b", 0, "");
	assert_check(b, "x", -EINVAL, "does not name this node"); /* there is a DNS name */
	use_certificate(certificates, b, &b_files, "*", NULL, &certificates->ours,
	                &certificates->ours);
	assert_check(b, "b", -EINVAL, "does not name this node");
	use_certificate(certificates, b, &b_files, "b", NULL, &certificates->others,
	                &certificates->ours);
	assert_check(b, "b", -EINVAL, "issued by an authority that stands in ca");
	/* With another's key it is not even loaded. */
	b->private_key_file = certificates->a.config.private_key_file;
	assert_int_equal(tls_new(&tls, b, text, sizeof(text)), -EINVAL);
	assert_non_null(strstr(text, "cannot use the private key in "));
}

static void test_own_certificate_out_of_date(void **state)
{
	struct certificates *certificates = *state;
	struct repl_config *b = &certificates->b.config;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = make_certificate(key, "b", NULL, &certificates->ours);

	use_certificate(certificates, b, &b_files, "b", NULL, &certificates->ours,
	                &certificates->ours);
	X509_gmtime_adj(X509_getm_notAfter(certificate), -30);
	assert_true(X509_sign(certificate, certificates->ours.key, EVP_sha256()) > 0);
	write_pem(b_files.certificate, certificate, NULL);
	write_pem(b_files.key, NULL, key);
	assert_check(b, "b", TLS_OUT_OF_DATE, "certificate has expired");
	X509_free(certificate);
	EVP_PKEY_free(key);
}

/* Nobody is asked for it. */
static void test_key_under_a_passphrase(void **state)
{
	struct certificates *certificates = *state;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	FILE *file = fopen(a_files.key, "w");
	struct tls *tls = NULL;
	char text[512];

	assert_non_null(file);
	assert_int_equal(PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(),
	                                      (const unsigned char *)"secret", 6, NULL, NULL),
	                 1);
	fclose(file);
	assert_int_equal(tls_new(&tls, &certificates->a.config, text, sizeof(text)), -EINVAL);
	assert_non_null(strstr(text, "cannot use the private key in "));
	EVP_PKEY_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    certificates_test(test_common_name),
	    certificates_test(test_dns_name),
	    certificates_test(test_another_authority),
	    certificates_test(test_trust_on_one_side),
	    certificates_test(test_a_certificate_that_names_another_node),
	    certificates_test(test_a_dns_name_overrides_the_common_name),
	    certificates_test(test_a_wildcard_is_no_name),
	    certificates_test(test_the_group_key_does_not_help),
	    certificates_test(test_certificates_of_another_group),
	    certificates_test(test_files_that_cannot_be_used),
	    certificates_test(test_own_certificate),
	    certificates_test(test_own_certificate_out_of_date),
	    certificates_test(test_key_under_a_passphrase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
