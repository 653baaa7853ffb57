/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from any thread to one worker: a stack that producers push with one exchange and the worker takes whole.
 * Ownership of the mail passes with it. Order of posting is kept.
 */
#ifndef GAUZE_IO_MAILBOX_H
#define GAUZE_IO_MAILBOX_H

#include "shared/base/base.h"

struct mail;
struct worker;

struct mailbox {
	struct mail *top; /* atomic; newest first */
};

/* Any thread. True when the box was empty, so that its owner may be asleep and must be woken. */
bool mailbox_put(struct mailbox *box, struct mail *mail);
/* The owner: delivers what is in the box now. */
void mailbox_deliver(struct mailbox *box, struct worker *at);
/* The owner. */
bool mailbox_empty(const struct mailbox *box);

#endif
