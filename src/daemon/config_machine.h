/* What config_machine.c tells config_warnings.c. */
#ifndef TLSBATON_DAEMON_CONFIG_MACHINE_H
#define TLSBATON_DAEMON_CONFIG_MACHINE_H

#include "daemon/config.h"

/* What vip_new() says to the service section, which must be there: 0, -EINVAL if it refuses the machine as
 * it is, -ENODEV if there is no such interface; any other negated errno: it could not find out. */
int config_service_looks(const struct config *config, char *error, size_t error_size) MUST_CHECK;

#endif
