/* What config_machine.c tells config_warnings.c. */
#ifndef TLSBATON_DAEMON_CONFIG_MACHINE_H
#define TLSBATON_DAEMON_CONFIG_MACHINE_H

#include "daemon/config.h"

/* What vip_new() says to the service section, which must be there: 0, -EINVAL if it refuses the machine as
 * it is, -ENODEV if there is no such interface; any other negated errno: it could not find out. Then the line is in
 * `text`, and that of vip_warning() with VIP_WARNS. */
int config_service_looks(const struct config *config, char *text, size_t text_size) MUST_CHECK;

/* What OpenSSL, as the daemon's user, and peers would say to the certificate, key and authority: 0 (also for a group
 * key), -EINVAL if they would refuse it, TLS_OUT_OF_DATE (repl/tls.h); any other negated errno: it could not find out.
 * Then the line is in `text`. */
int config_certificates_look(const struct config *config, char *text, size_t text_size) MUST_CHECK;

#endif
