/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "shared/io/mailbox.h"
#include "shared/io/worker.h"

enum { SENDERS = 4, EACH = 20000 };

struct letter {
	struct mail mail;
	uint32_t sender, number;
	uint64_t *box_count; /* plain: written by the reader alone */
};

static uint32_t next_of[SENDERS];

static void deliver(struct mail *mail, struct worker *at)
{
	struct letter *l = container_of(mail, struct letter, mail);

	assert_null(at);
	assert_int_equal(l->number, next_of[l->sender]);
	next_of[l->sender]++;
	(*l->box_count)++;
}

struct sender {
	struct mailbox *box;
	struct letter *letters;
	uint32_t index;
	uint64_t *count, wakes;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (uint32_t i = 0; i < EACH; i++) {
		s->letters[i] = (struct letter){
			.mail.deliver = deliver,
			.sender = s->index,
			.number = i,
			.box_count = s->count,
		};
		s->wakes += mailbox_put(s->box, &s->letters[i].mail);
	}
	return NULL;
}

static void many_senders(void **state)
{
	static struct letter letters[SENDERS][EACH];
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	struct mailbox box = {0};
	uint64_t count = 0, wakes = 0;

	(void)state;
	for (uint32_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){&box, letters[i], i, &count, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	while (count < SENDERS * EACH)
		mailbox_deliver(&box, NULL);
	for (uint32_t i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		wakes += senders[i].wakes;
		assert_int_equal(next_of[i], EACH);
	}
	assert_true(mailbox_empty(&box));
	assert_true(wakes >= 1 && wakes <= SENDERS * EACH);
}

static void wakes_only_when_empty(void **state)
{
	uint64_t count = 0;
	struct mailbox box = {0};
	struct letter a = {.mail.deliver = deliver, .box_count = &count};
	struct letter b = a, c = a;

	(void)state;
	next_of[0] = 0;
	b.number = 1;
	c.number = 2;
	assert_true(mailbox_empty(&box));
	mailbox_deliver(&box, NULL);
	assert_true(mailbox_put(&box, &a.mail));
	assert_false(mailbox_put(&box, &b.mail));
	assert_false(mailbox_empty(&box));
	mailbox_deliver(&box, NULL);
	assert_int_equal(count, 2);
	assert_true(mailbox_put(&box, &c.mail));
	mailbox_deliver(&box, NULL);
	assert_int_equal(count, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_senders),
		cmocka_unit_test(wakes_only_when_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
