/* SPDX-License-Identifier: Apache-2.0 */
/* What pods.c and pod_worker.c share; nobody else includes it. */
#ifndef GAUZE_ZTUNNEL_POD_WORKER_H
#define GAUZE_ZTUNNEL_POD_WORKER_H

#include "ztunnel/pods.h"

enum { POD_MAGIC = 0x706f6431, POD_WORKER_MAGIC = 0x706f6477 };

/* Control thread, before anything is posted; and after everything is done. */
void pod_worker_init(struct pod_worker *pw, struct pod *pod, struct app_worker *aw);
void pod_worker_fini(struct pod_worker *pw);
/* Control thread: closes the sockets that its workers gave back. */
void pod_close_sockets(struct pod *pod);
/* Control thread: frees the pod if no worker holds anything of it any more. */
void pods_reap(struct pod *pod);

#endif
