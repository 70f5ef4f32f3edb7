/*
 * Frames that tell a network which station holds an address now. Building them touches nothing; sending
 * needs CAP_NET_RAW for announce_open() only.
 */
#ifndef TLSBATON_VIP_ANNOUNCE_H
#define TLSBATON_VIP_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

#define ANNOUNCE_ARP_BYTES 42 /* Ethernet header, ARP */
#define ANNOUNCE_NA_BYTES                                                                          \
	86 /* Ethernet header, IPv6 header, neighbour advertisement with one option */

enum announce_arp_form { ANNOUNCE_REQUEST = 1, ANNOUNCE_REPLY = 2 }; /* ARP's own numbers */

/* Out: a broadcast gratuitous ARP for the IPv4 address `ip` (4 bytes) at `mac` (6 bytes). */
void announce_arp(uint8_t frame[ANNOUNCE_ARP_BYTES], enum announce_arp_form form,
                  const uint8_t *mac, const uint8_t *ip);

/* Out: an unsolicited neighbour advertisement to all nodes for the IPv6 address `ip` (16 bytes). */
void announce_na(uint8_t frame[ANNOUNCE_NA_BYTES], const uint8_t *mac, const uint8_t *ip);

/* A packet socket that sends and receives nothing by itself: a descriptor, the caller's to close, or a
 * negated errno. */
int announce_open(void) MUST_CHECK;

/* Sends all that there is to say about one address (`family` AF_INET or AF_INET6) from the interface
 * `index`. Returns 0 or a negated errno (-ENETDOWN: the interface is down). */
int announce_send(int fd, int index, int family, const uint8_t *mac, const uint8_t *ip) MUST_CHECK;

#endif
