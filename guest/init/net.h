/* The VM's network, over rtnetlink. */
#ifndef NET_H
#define NET_H

#include "util.h"

int net_loopback_up(void);

/* One INTERFACE: found by its MAC (waiting some seconds for it), named, addressed, brought up, routed. */
int net_configure(struct span interface, struct failure *failure);

/* Whether a device with this MAC is there. */
bool net_present(struct span interface);

#endif
