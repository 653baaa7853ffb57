/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The static source of state: LOCAL_XDS_PATH, watched, or LOCAL_XDS (contract section 3.8). Control thread. A file that
 * becomes wrong is refused with its errors, and what was loaded before stays.
 */
#ifndef GAUZE_ZTUNNEL_STATE_SOURCE_H
#define GAUZE_ZTUNNEL_STATE_SOURCE_H

#include "ztunnel/app.h"

struct state_source;

/*
 * Loads, and goes on watching; without either variable the world stays empty. At start every error is logged and the
 * result is negative.
 */
int must_check state_source_start(struct app *app, struct state_source **out);
/* NULL is allowed. */
void state_source_stop(struct state_source *s);

#endif
