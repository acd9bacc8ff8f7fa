/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/gpus.h"
#include "agent/clock.h"
#include "admin/metric.h"
#include "base/log.h"
#include "nvml/child.h"
#include "nvml/history.h"
#include "nvml/json.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_MS 1000
#define DOUBTS_MAX 64 /* devices of one vgpud */
#define PATIENCE_MS 5000 /* for a sample; NVML's slowest calls take tens of milliseconds */
#define RETRY_S 5	 /* after a child that failed */
#define ABSENT_S 60	 /* without NVML, or without its driver: it may be installed */

/* What makes a device doubtful, as it was when its UUID was asked about last. */
static const struct {
	unsigned value;
	const char *text;
} doubtful[] = {{GPU_HARDWARE_XIDS, "an Xid"}, {GPU_ECC_UNCORRECTED, "a memory error not corrected"}, {GPU_LOST, "answers no more"}};
#define DOUBTS (sizeof(doubtful) / sizeof(doubtful[0]))

struct doubts {
	char uuid[NV_TEXT], gpu[NV_TEXT]; /* gpu: of a MIG device, whose GPU has none any more once it is lost */
	int64_t seen[DOUBTS], now[DOUBTS]; /* -1: not known */
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct gpu_child child;	  /* fd and pid are changed under lock */
	struct gpu_sample fresh;  /* the thread's, as the next */
	struct gpu_history history;
	struct gpu_sample sample; /* under lock, as everything that follows */
	uint64_t samples, starts;
	double at; /* seconds since 1970, of the last sample; 0: none */
	bool told;
	struct doubts doubts[DOUBTS_MAX];
	unsigned n_doubts;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .child = {.fd = -1}, .sample = {.rc = -ENOENT}};

_Noreturn void gpus_child(void)
{
	_exit(gpu_child_main(STDIN_FILENO, PERIOD_MS));
}

/* ---- the thread ---- */

static void copy_sample(struct gpu_sample *to, const struct gpu_sample *from)
{
	memcpy(to, from, offsetof(struct gpu_sample, gpu));
	memcpy(to->gpu, from->gpu, from->gpus * sizeof(to->gpu[0]));
}

static void publish(int rc)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (!rc)
		gpu_history_take(&g.history, &g.fresh, (int64_t)clock_ms(CLOCK_MONOTONIC));
	pthread_mutex_lock(&g.lock);
	if (rc != g.sample.rc || !g.told) {
		if (rc == -ENOENT)
			log_info("%s", gpu_error_text(rc));
		else if (rc)
			log_warning("%s (%d)", gpu_error_text(rc), rc);
		else
			log_info("NVML answers for %u GPUs", g.fresh.gpus);
		g.told = true;
	}
	if (rc) { /* nothing is known of them until it answers again */
		g.sample.rc = rc;
		g.sample.gpus = 0;
	} else {
		copy_sample(&g.sample, &g.history.s);
		g.samples++;
		g.at = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	}
	pthread_mutex_unlock(&g.lock);
}

/* True: to stop. */
static bool pause_for(int seconds)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&g.lock);
	while (!g.stop && pthread_cond_timedwait(&g.wake, &g.lock, &until) != ETIMEDOUT)
		;
	stop = g.stop;
	pthread_mutex_unlock(&g.lock);
	return stop;
}

/* Samples of one child until it fails; why it did. */
static int watch_child(void)
{
	static char self[] = "/proc/self/exe", option[] = "--" GPUS_CHILD_OPTION;
	char *const argv[] = {self, option, NULL};
	int rc;

	pthread_mutex_lock(&g.lock);
	rc = g.stop ? -ECANCELED : gpu_child_start(&g.child, argv);
	g.starts += !rc;
	pthread_mutex_unlock(&g.lock);
	gpu_history_restart(&g.history);
	while (!rc) {
		rc = gpu_child_read(&g.child, PATIENCE_MS, &g.fresh);
		if (!rc && g.fresh.rc)
			rc = g.fresh.rc;
		else if (!rc)
			publish(0);
	}
	return rc;
}

static bool end_child(void)
{
	bool reaped;

	pthread_mutex_lock(&g.lock);
	reaped = gpu_child_end(&g.child);
	pthread_mutex_unlock(&g.lock);
	return reaped;
}

static void *run(void *arg)
{
	bool stop = false;

	while (!stop) {
		int rc = watch_child();

		if (rc != -ECANCELED)
			publish(rc);
		while (!end_child() && !stop)
			stop = pause_for(RETRY_S); /* stuck in the driver: no other one until it is gone */
		if (!stop)
			stop = pause_for(rc == -ENOENT || rc > 0 ? ABSENT_S : RETRY_S);
	}
	return NULL;
}

int gpus_start(void)
{
	cond_init_monotonic(&g.wake);
	return pthread_create(&g.thread, NULL, run, NULL);
}

void gpus_stop(void)
{
	pthread_mutex_lock(&g.lock);
	g.stop = true;
	if (g.child.fd >= 0)
		shutdown(g.child.fd, SHUT_RDWR); /* who waits for a sample wakes */
	pthread_cond_signal(&g.wake);
	pthread_mutex_unlock(&g.lock);
	pthread_join(g.thread, NULL);
}

/* ---- doubts; all under lock ---- */

static const struct gpu *gpu_of(const char *uuid)
{
	for (unsigned i = 0; i < g.sample.gpus; i++) {
		const struct gpu *gpu = &g.sample.gpu[i];

		if (!strcmp(gpu->uuid, uuid))
			return gpu;
		for (unsigned k = 0; k < gpu->instances; k++)
			if (!strcmp(gpu->instance[k].uuid, uuid))
				return gpu;
	}
	return NULL;
}

static struct doubts *doubts_find(const char *uuid)
{
	for (unsigned i = 0; i < DOUBTS_MAX; i++)
		if (*uuid && !strcmp(g.doubts[i].uuid, uuid))
			return &g.doubts[i];
	return NULL;
}

/* What a device is seen with first was so before. The oldest gives its place. */
static struct doubts *doubts_new(const char *uuid, const struct gpu *gpu)
{
	struct doubts *d = &g.doubts[g.n_doubts++ % DOUBTS_MAX];

	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	snprintf(d->gpu, sizeof(d->gpu), "%s", gpu->uuid);
	for (unsigned k = 0; k < DOUBTS; k++)
		d->seen[k] = gpu->value[doubtful[k].value];
	return d;
}

static bool doubts_look(struct doubts *d, const struct gpu *gpu, char *why, size_t size)
{
	bool doubted = false;

	for (unsigned k = 0; k < DOUBTS; k++) {
		int64_t now = d->now[k] = gpu->value[doubtful[k].value];

		if (d->seen[k] < 0 || now < d->seen[k])
			d->seen[k] = now < 0 ? d->seen[k] : now;
		if (now <= d->seen[k] || doubted)
			continue;
		doubted = true;
		if (doubtful[k].value == GPU_HARDWARE_XIDS)
			snprintf(why, size, "NVML: Xid %lld", (long long)gpu->value[GPU_LAST_HARDWARE_XID]);
		else
			snprintf(why, size, "NVML: %s", doubtful[k].text);
	}
	return doubted;
}

bool gpus_doubted(const char *uuid, char *why, size_t size)
{
	const struct gpu *gpu;
	struct doubts *d;
	bool doubted;

	pthread_mutex_lock(&g.lock);
	d = doubts_find(uuid);
	gpu = gpu_of(d ? d->gpu : uuid);
	if (gpu && !d)
		d = doubts_new(uuid, gpu);
	doubted = gpu && doubts_look(d, gpu, why, size);
	pthread_mutex_unlock(&g.lock);
	return doubted;
}

void gpus_believed(const char *uuid)
{
	struct doubts *d;

	pthread_mutex_lock(&g.lock);
	d = doubts_find(uuid);
	for (unsigned k = 0; d && k < DOUBTS; k++)
		if (d->now[k] >= 0)
			d->seen[k] = d->now[k];
	pthread_mutex_unlock(&g.lock);
}

/* ---- pages ---- */

static void labels(FILE *out, unsigned i, const struct gpu *gpu)
{
	fprintf(out, "gpu=\"%u\",uuid=\"", i);
	metric_text(out, gpu->uuid);
	fputc('"', out);
}

static void own_metrics(FILE *out, bool open)
{
	const struct {
		const char *name, *what;
		double value;
	} own[] = {
		{"nvml_up", "1: NVML answered the last time", g.sample.rc == 0},
		{"nvml_samples_total", "Samples of all GPUs", (double)g.samples},
		{"nvml_process_starts_total", "Starts of the process that asks NVML", (double)g.starts},
		{"nvml_failed_calls_total", "Calls of NVML that failed", (double)g.sample.failures},
		{"nvml_last_success_timestamp_seconds", "When NVML answered last, since 1970", g.at},
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
		metric_head(out, own[i].name, NULL, own[i].what, open);
		fprintf(out, "openvgpu_%s %.17g\n", own[i].name, own[i].value);
	}
}

/* Why it answers or not: a host without NVIDIA's driver is well, one whose driver hangs is not. */
static void status_metric(FILE *out, bool open)
{
	static const char *const names[] = {"answers", "absent", "no_driver", "hangs", "fails"};
	int rc = g.sample.rc;
	unsigned is = rc == 0 ? 0 : rc == -ENOENT ? 1 : rc == NV_DRIVER_NOT_LOADED ? 2 : rc == -ETIMEDOUT ? 3 : 4;

	metric_head(out, "nvml_status", NULL, "1: how it is with NVML; absent: not installed", open);
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		fprintf(out, "openvgpu_nvml_status{status=\"%s\"} %d\n", names[i], i == is);
}

static void info_metric(FILE *out, bool open)
{
	if (!g.sample.gpus)
		return;
	metric_info_head(out, "gpu", "What GPU it is", open);
	for (unsigned i = 0; i < g.sample.gpus; i++) {
		const struct gpu *gpu = &g.sample.gpu[i];

		fputs("openvgpu_gpu_info{", out);
		labels(out, i, gpu);
		fputs(",pci_bus_id=\"", out);
		metric_text(out, gpu->bus_id);
		fputs("\",model=\"", out);
		metric_text(out, gpu->name);
		fputs("\",driver_version=\"", out);
		metric_text(out, g.sample.driver);
		fputs("\"} 1\n", out);
	}
}

static void value_metric(FILE *out, unsigned v, bool open)
{
	bool begun = false;

	for (unsigned i = 0; i < g.sample.gpus; i++) {
		const struct gpu *gpu = &g.sample.gpu[i];
		char name[96];

		if (gpu->value[v] < 0)
			continue;
		snprintf(name, sizeof(name), "gpu_%s", gpu_values[v].key);
		if (!begun)
			metric_head(out, name, NULL, gpu_values[v].what, open);
		begun = true;
		fprintf(out, "openvgpu_%s{", name);
		labels(out, i, gpu);
		fprintf(out, "} %.12g\n", (double)gpu->value[v] * gpu_values[v].unit);
	}
}

static void instance_metric(FILE *out, size_t at, const char *name, const char *what, bool open)
{
	bool begun = false;

	for (unsigned i = 0; i < g.sample.gpus; i++)
		for (unsigned k = 0; k < g.sample.gpu[i].instances; k++) {
			const struct gpu_instance *m = &g.sample.gpu[i].instance[k];
			int64_t n = *(const int64_t *)((const char *)m + at);

			if (n < 0)
				continue;
			if (!begun)
				metric_head(out, name, NULL, what, open);
			begun = true;
			fprintf(out, "openvgpu_%s{", name);
			labels(out, i, &g.sample.gpu[i]);
			fprintf(out, ",mig=\"%u\",gpu_instance=\"%lld\",compute_instance=\"%lld\",mig_uuid=\"", k, (long long)m->gpu_instance,
				(long long)m->compute_instance);
			metric_text(out, m->uuid);
			fprintf(out, "\"} %lld\n", (long long)n);
		}
}

void gpus_metrics(FILE *out, bool open)
{
	pthread_mutex_lock(&g.lock);
	own_metrics(out, open);
	status_metric(out, open);
	info_metric(out, open);
	for (unsigned v = 0; v < GPU_VALUES; v++)
		value_metric(out, v, open);
	instance_metric(out, offsetof(struct gpu_instance, memory), "gpu_mig_memory_bytes", "Memory of a MIG device", open);
	instance_metric(out, offsetof(struct gpu_instance, used), "gpu_mig_memory_used_bytes", "Of it, what programs use", open);
	pthread_mutex_unlock(&g.lock);
}

void gpus_driver(char *version, size_t size)
{
	pthread_mutex_lock(&g.lock);
	snprintf(version, size, "%s", g.sample.driver);
	pthread_mutex_unlock(&g.lock);
}

json_t *gpus_page(void)
{
	json_t *nvml, *page;

	pthread_mutex_lock(&g.lock);
	nvml = json_pack("{s:b, s:I, s:I}", "answers", g.sample.rc == 0, "samples", (json_int_t)g.samples, "failed_calls",
			 (json_int_t)g.sample.failures);
	if (g.sample.rc)
		json_object_set_new(nvml, "error", json_string(gpu_error_text(g.sample.rc)));
	if (g.sample.driver[0])
		json_object_set_new(nvml, "driver", json_string(g.sample.driver));
	page = json_pack("{s:o, s:o}", "nvml", nvml, "gpus", gpus_json(&g.sample));
	pthread_mutex_unlock(&g.lock);
	return page;
}

void gpus_add_problems(json_t *problems)
{
	pthread_mutex_lock(&g.lock);
	if (g.sample.rc && g.sample.rc != -ENOENT && g.sample.rc != NV_DRIVER_NOT_LOADED)
		json_array_append_new(problems, json_pack("{s:s, s:s}", "what", "GPUs", "text", gpu_error_text(g.sample.rc)));
	gpus_problems(&g.sample, problems);
	pthread_mutex_unlock(&g.lock);
}
