/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include "shared/base/err.h"

static void end(struct relay *r, int reason)
{
	int64_t held = (int64_t)r->a.in_flight + r->b.in_flight;

	if (held && r->moved)
		r->moved(r, 0, 0, -held);
	r->running = false;
	r->reason = reason;
	task_cancel(&r->task);
	r->a.ep->ops->close(r->a.ep, reason);
	r->b.ep->ops->close(r->b.ep, reason);
	r->a.ep = r->b.ep = NULL;
}

/* Tells `from` what `to` has taken since the last time; returns how much. */
static uint32_t settle(struct relay_side *from, struct relay_side *to)
{
	uint32_t left = MIN(to->in_flight, to->ep->tx_pending);
	uint32_t taken = to->in_flight - left;

	if (taken) {
		to->in_flight = left;
		from->ep->ops->credit(from->ep, taken);
	}
	return taken;
}

/* One direction, once. Returns bytes that began to cross. */
static uint32_t pump(struct relay_side *from, struct relay_side *to)
{
	uint32_t n = from->ep->rx.bytes;

	if (n && (to->finished || to->ep->tx_broken)) {
		/* nobody will read it: drain, so that the sender can come to its end */
		bufq_fini(&from->ep->rx);
		from->ep->ops->credit(from->ep, n);
		n = 0;
	}
	if (n) {
		to->in_flight += n;
		to->ep->ops->send(to->ep, &from->ep->rx);
	}
	if (to->ep->tx_broken)
		to->finished = true;
	if (from->ep->eof && !from->ep->rx.bytes && !to->finished) {
		to->finished = true;
		to->ep->ops->finish(to->ep);
	}
	return n;
}

static void run(struct task *task)
{
	struct relay *r = container_of(task, struct relay, task);
	uint32_t ab, ba;
	int64_t held;
	int error;

	ab = pump(&r->a, &r->b);
	ba = pump(&r->b, &r->a);
	held = (int64_t)ab + ba;
	held -= settle(&r->a, &r->b);
	held -= settle(&r->b, &r->a);
	r->a_to_b += ab;
	r->b_to_a += ba;
	if (r->moved && (ab || ba || held))
		r->moved(r, ab, ba, held);
	error = r->a.ep->error ? r->a.ep->error : r->b.ep->error;
	if (error) {
		end(r, error);
		task_ready(r->done_queue, r->done);
	} else if (r->a.finished && r->b.finished && !r->a.in_flight && !r->b.in_flight) {
		end(r, 0);
		task_ready(r->done_queue, r->done);
	}
}

void relay_start(struct relay *r, struct taskq *queue, struct endpoint *a, struct endpoint *b,
		 struct task *done, relay_moved_fn moved)
{
	*r = (struct relay){.a.ep = a,
			    .b.ep = b,
			    .done_queue = queue,
			    .done = done,
			    .moved = moved,
			    .running = true};
	task_init(&r->task, run);
	endpoint_attach(a, queue, &r->task);
	endpoint_attach(b, queue, &r->task);
}

void relay_abort(struct relay *r, int reason)
{
	if (!r->running)
		return;
	end(r, reason);
	r->reason = reason;
}
