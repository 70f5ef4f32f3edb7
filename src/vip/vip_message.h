/* What the daemon and its helper say to each other: one struct a packet, over a SOCK_SEQPACKET pair. Both
 * ends are the same program, so the version only ever differs by a fault; then the pair is closed. */
#ifndef TLSBATON_VIP_VIP_MESSAGE_H
#define TLSBATON_VIP_VIP_MESSAGE_H

#include <stdint.h>

#define VIP_MESSAGE_VERSION 1
#define VIP_MESSAGE_ERROR_BYTES 512

struct vip_request {
	uint32_t version;
	uint32_t op; /* enum vip_op */
};

struct vip_reply {
	uint32_t version;
	uint32_t op;    /* of the request; 0: the helper is ready, or says why it cannot be */
	int32_t result; /* of the function of vip.h */
	char error[VIP_MESSAGE_ERROR_BYTES]; /* NUL-terminated; "" if result is not negative */
};

#endif
