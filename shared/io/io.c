/* SPDX-License-Identifier: Apache-2.0 */
/* What the backends share: choice of one, the table of objects that events name, the flush stage. */
#include "shared/io/backend.h"

#include <errno.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/io/conn_priv.h"
#include "shared/io/listen_priv.h"
#include "shared/io/worker.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"

LOG_SCOPE(scope, "gauze::io");

static const struct io_backend *registered;

enum { SLOTS_FIRST = 64, SLOT_NONE = UINT32_MAX };

void io_init(struct io *io, const struct io_backend *backend, struct worker *w)
{
	memset(io, 0, sizeof(*io));
	io->backend = backend;
	io->worker = w;
	io->slot_free = SLOT_NONE;
	list_init(&io->dirty);
	list_init(&io->wishes);
	list_init(&io->starved);
}

void io_fini(struct io *io)
{
	CHECK(io->slot_used == 0);
	free(io->slots);
	io->slots = NULL;
}

void io_register(const struct io_backend *backend)
{
	registered = backend;
}

static const struct io_backend *find(const char *name)
{
	const struct io_backend *all[] = {&uring_backend, &epoll_backend, registered};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] && strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

int io_open(struct worker *w, const char *name, struct io **out)
{
	static bool warned;
	const struct io_backend *wanted;
	int err;

	if (!name || !*name)
		name = getenv("GAUZE_IO");
	if (name && *name) {
		wanted = find(name);
		return wanted ? wanted->open(w, out) : ERR_UNSUPPORTED;
	}
	err = uring_backend.open(w, out);
	if (err == 0)
		return 0;
	if (!__atomic_exchange_n(&warned, true, __ATOMIC_RELAXED))
		log_warn(&scope, "io_uring is not available (%s); using epoll", err_text(err));
	return epoll_backend.open(w, out);
}

static int grow(struct io *io)
{
	uint32_t cap = io->slot_cap ? io->slot_cap * 2 : SLOTS_FIRST;
	struct io_slot *slots = realloc(io->slots, cap * sizeof(*slots));

	if (!slots)
		return ERR_NOMEM;
	for (uint32_t i = cap; i-- > io->slot_cap;) {
		slots[i] = (struct io_slot){.generation = 1, .next = io->slot_free};
		io->slot_free = i;
	}
	io->slots = slots;
	io->slot_cap = cap;
	return 0;
}

int io_slot_add(struct io *io, void *obj, enum io_kind kind, uint32_t *slot)
{
	if (io->slot_used >= LIMIT_WORKER_CONNS)
		return ERR_LIMIT;
	if (io->slot_free == SLOT_NONE) {
		int err = grow(io);

		if (err)
			return err;
	}
	uint32_t i = io->slot_free;
	struct io_slot *s = &io->slots[i];

	io->slot_free = s->next;
	io->slot_used++;
	s->obj = obj;
	s->next = kind;
	*slot = i;
	return 0;
}

void io_slot_del(struct io *io, uint32_t slot)
{
	struct io_slot *s = &io->slots[slot];

	CHECK(slot < io->slot_cap && s->obj);
	s->obj = NULL;
	s->generation++;
	s->next = io->slot_free;
	io->slot_free = slot;
	io->slot_used--;
}

void *io_tag_find(struct io *io, uint64_t tag)
{
	uint32_t slot = (uint32_t)tag;

	if (slot < io->slot_cap && io->slots[slot].obj && io_tag(io, slot, io_tag_kind(tag)) == tag)
		return io->slots[slot].obj;
	IO_COUNT(io, stale, 1);
	return NULL;
}

void io_wish(struct io *io, struct io_wish *wish)
{
	if (list_empty(&wish->link))
		list_add_tail(&io->wishes, &wish->link);
}

/* Those that starved first are fed first, as many as there are slots. */
static void feed(struct io *io)
{
	uint32_t n = list_empty(&io->starved) ? 0 : io->backend->slots(io);

	for (; n > 0 && !list_empty(&io->starved); n--) {
		struct conn *c = list_first(&io->starved, struct conn, ready);

		list_del(&c->ready);
		conn_mark(c);
	}
}

void io_flush(struct io *io)
{
	struct list now;

	feed(io);
	/* What cannot be started marks itself again and waits for the next flush. */
	list_take_all(&now, &io->dirty);
	while (!list_empty(&now)) {
		struct conn *c = list_first(&now, struct conn, dirty);

		list_del(&c->dirty);
		conn_flush(c);
	}
	list_take_all(&now, &io->wishes);
	while (!list_empty(&now)) {
		struct io_wish *wish = list_first(&now, struct io_wish, link);

		list_del(&wish->link);
		wish->flush(wish);
	}
}

static bool ending(const struct io_slot *s)
{
	switch ((enum io_kind)s->next) {
	case IO_CONN: return conn_abandon(s->obj);
	case IO_LISTENER: return ((struct listener *)s->obj)->stopping;
	case IO_WATCH: return ((struct watch *)s->obj)->freed;
	default: return false;
	}
}

uint32_t io_abandon(struct io *io)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < io->slot_cap; i++)
		n += io->slots[i].obj && ending(&io->slots[i]);
	return n;
}

uint32_t io_iov(const struct conn *c, struct iovec iov[IO_IOV_MAX])
{
	uint32_t left = c->sending;
	uint16_t n = 0;

	for (; n < c->sending_slices; n++) {
		const struct bslice *s = bufq_at(&c->tx, n);

		iov[n].iov_base = s->buf->data + s->off;
		iov[n].iov_len = MIN(s->len, left);
		left -= (uint32_t)iov[n].iov_len;
	}
	return n;
}

void io_limit_hit(struct io *io, const char *name)
{
	struct str label = str_of(name);

	metric_add_labels(io->worker->metrics, METRIC_LIMIT_HITS, &label, 1, 1);
}

struct buf *io_slab(struct io *io)
{
	struct bufpool *pool = io->worker->bufs;
	struct buf *slab = bufpool_low(pool) ? NULL : bufpool_slab(pool);

	if (!slab) {
		IO_COUNT(io, slabs_refused, 1);
		io_limit_hit(io, "limit_worker_buffered");
	}
	return slab;
}
