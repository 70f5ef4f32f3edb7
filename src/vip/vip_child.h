/* The helper's side of vip_helper.h. */
#ifndef TLSBATON_VIP_VIP_CHILD_H
#define TLSBATON_VIP_VIP_CHILD_H

#include <sys/types.h>

#include "vip/vip.h"

/*
 * Turns the calling process, fresh from fork(2), into the helper: confines it, says so over `fd` (its end
 * of the pair), serves requests until the other end is closed, and exits. `vip` is borrowed. All other
 * descriptors but stderr are closed.
 */
_Noreturn void vip_child_run(int fd, struct vip *vip, unsigned announce_s, uid_t uid, gid_t gid);

#endif
