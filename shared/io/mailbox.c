/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/io/mailbox.h"

#include "shared/io/worker.h"

bool mailbox_put(struct mailbox *box, struct mail *mail)
{
	struct mail *top = __atomic_load_n(&box->top, __ATOMIC_RELAXED);

	/* Release: what the mail carries is seen by whoever takes it (acquire in mailbox_deliver). */
	do {
		mail->next = top;
	} while (!__atomic_compare_exchange_n(&box->top, &top, mail, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	return top == NULL;
}

void mailbox_deliver(struct mailbox *box, struct worker *at)
{
	struct mail *newest = __atomic_exchange_n(&box->top, NULL, __ATOMIC_ACQUIRE);
	struct mail *oldest = NULL;

	while (newest) {
		struct mail *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct mail *next = oldest->next;

		oldest->deliver(oldest, at);
		oldest = next;
	}
}

bool mailbox_empty(const struct mailbox *box)
{
	return __atomic_load_n(&box->top, __ATOMIC_RELAXED) == NULL;
}
