/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-executor: started by vgpud's keeper only, with the descriptors of vgpud/ipc.h. */
#include "executor/jail.h"
#include "executor/process.h"
#include "base/log.h"
#include "cuda/loader.h"
#include "wire/geometry.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct arguments {
	struct jail jail;
	unsigned channel;
	int device;
	uint64_t bar_size; /* 0: a probe or a spare */
	bool spare, check;
	const char *uuid; /* "": by ordinal */
	uint64_t context_bytes;
	const char *driver;
};

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{"namespaces", 1, NULL, 'n'}, {"uid", 1, NULL, 'u'},	  {"channel", 1, NULL, 'c'},
		{"device", 1, NULL, 'd'},     {"bar-size", 1, NULL, 'b'}, {"memory", 1, NULL, 'm'},
		{"context-bytes", 1, NULL, 'C'}, {"landlock", 1, NULL, 'l'},   {"driver", 1, NULL, 'D'},	  {"log-level", 1, NULL, 'L'},
		{"spare", 0, NULL, 's'},	{"check", 0, NULL, 'k'}, {"uuid", 1, NULL, 'U'}, {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'n':
			a->jail.namespaces = optarg;
			break;
		case 'u':
			a->jail.uid = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			a->channel = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			a->device = atoi(optarg);
			break;
		case 'b':
			a->bar_size = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			a->jail.memory = strtoull(optarg, NULL, 10);
			break;
		case 'C':
			a->context_bytes = strtoull(optarg, NULL, 10);
			break;
		case 'l':
			a->jail.accept_no_landlock = !strcmp(optarg, "accept-missing");
			break;
		case 'D':
			a->driver = optarg;
			break;
		case 'L':
			log_set_level((enum log_level)log_level_parse(optarg));
			break;
		case 's':
			a->spare = true;
			break;
		case 'k':
			a->check = true;
			break;
		case 'U':
			a->uuid = optarg;
			break;
		default:
			return -1;
		}
	}
	return a->driver && a->uuid && a->jail.namespaces && fcntl(IPC_FD_DRIVER, F_GETFD) >= 0 ? 0 : -1;
}

/* Its last word, then the end. The broker tells the guest `error` and a person `text`. */
static void __attribute__((noreturn)) end(struct process *p, uint32_t error, const char *text)
{
	struct ipc_x_end m = {.error = error};

	snprintf(m.text, sizeof(m.text), "%s", text);
	process_tell(p, IPC_X_END, &m, sizeof(m));
	_exit(error ? 1 : 0);
}

static struct vgpu_err *cuda_err(const struct cuda_driver *d, int rc, const char *what)
{
	const char *name = NULL;

	d->cuGetErrorName((CUresult)rc, &name);
	return err_new("%s: %s (%d)", what, name ? name : "unknown error", rc);
}

/* Kernels that reach pageable host memory by themselves (HMM, ATS) would reach the executor's own. */
static struct vgpu_err *refuse_pageable(const struct cuda_driver *d, CUdevice dev)
{
	int pageable = 0;
	CUresult rc = d->cuDeviceGetAttribute(&pageable, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, dev);

	if (rc)
		return cuda_err(d, rc, "asking for PAGEABLE_MEMORY_ACCESS");
	if (pageable)
		return err_new("kernels of this device can reach pageable host memory, so a guest could overwrite "
			       "its executor: turn HMM off (modprobe option nvidia_uvm uvm_disable_hmm=1) or "
			       "ATS, then start again");
	return NULL;
}

/* "GPU-" or "MIG-" and 32 hex digits with dashes between. */
static bool parse_uuid(const char *s, CUuuid *out)
{
	unsigned n = 0;

	s += strlen(s) > 4 ? 4 : 0;
	for (; *s && n < sizeof(out->bytes); s += 2 + (s[2] == '-')) {
		unsigned byte;

		if (sscanf(s, "%2x", &byte) != 1 || !s[1])
			return false;
		out->bytes[n++] = (char)byte;
	}
	return n == sizeof(out->bytes) && !*s;
}

/* Of the MIG instance, where the library can tell it from its GPU. */
static CUresult uuid_of(const struct cuda_driver *d, CUuuid *uuid, CUdevice dev)
{
	return d->cuDeviceGetUuid_v2 ? d->cuDeviceGetUuid_v2(uuid, dev) : d->cuDeviceGetUuid(uuid, dev);
}

/* The keeper shows the library this one only, where the library obeys CUDA_VISIBLE_DEVICES. */
static struct vgpu_err *device_by_uuid(const struct cuda_driver *d, const char *uuid, int *ordinal)
{
	CUuuid want, have;
	int n = 0, rc = d->cuDeviceGetCount(&n);
	CUdevice dev;

	if (rc)
		return cuda_err(d, rc, "cuDeviceGetCount");
	if (!parse_uuid(uuid, &want))
		return err_new("%s: not the UUID of a GPU or MIG instance", uuid);
	for (int i = 0; i < n; i++)
		if (!d->cuDeviceGet(&dev, i) && !uuid_of(d, &have, dev) && !memcmp(&want, &have, sizeof(want))) {
			*ordinal = i;
			return NULL;
		}
	return err_new("%s: none of the driver's %d devices", uuid, n);
}

static struct vgpu_err *open_driver(struct arguments *a, struct cuda_driver *d, CUdevice *dev)
{
	char path[32], why[300];
	int rc;

	/* By descriptor: the library's folder may be one the new uid cannot walk to. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", IPC_FD_DRIVER);
	if (cuda_driver_open(d, path, why, sizeof(why)))
		return err_new("driver %s: %s", a->driver, why);
	rc = d->cuInit(0);
	if (rc)
		return cuda_err(d, rc, "cuInit");
	if (a->uuid[0]) {
		struct vgpu_err *e = device_by_uuid(d, a->uuid, &a->device);

		if (e)
			return e;
	}
	rc = d->cuDeviceGet(dev, a->device);
	if (rc)
		return cuda_err(d, rc, "cuDeviceGet");
	return refuse_pageable(d, *dev);
}

static struct vgpu_err *describe_device(const struct cuda_driver *d, CUdevice dev, struct vgpu_device_info *i)
{
	size_t total = 0;
	CUuuid uuid;
	int version = 0, rc;

	rc = d->cuDeviceGetName(i->name, sizeof(i->name), dev);
	if (!rc)
		rc = uuid_of(d, &uuid, dev);
	if (!rc)
		rc = d->cuDeviceTotalMem_v2(&total, dev);
	if (!rc)
		rc = d->cuDriverGetVersion(&version);
	if (rc)
		return cuda_err(d, rc, "describing the device");
	memcpy(i->uuid, &uuid, sizeof(i->uuid));
	i->total_mem = total;
	i->driver_version = (uint32_t)version;
	i->attr_count = VGPU_ATTR_MAX;
	for (unsigned n = 0; n < VGPU_ATTR_MAX; n++) {
		int v;

		i->attr[n] = n && !d->cuDeviceGetAttribute(&v, (CUdevice_attribute)n, dev) ? v : VGPU_ATTR_UNKNOWN;
	}
	i->cc_major = (uint32_t)i->attr[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR];
	i->cc_minor = (uint32_t)i->attr[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR];
	return NULL;
}

/* Context, memory, both directions: what every program needs. */
static struct vgpu_err *compute(const struct cuda_driver *d, CUdevice dev)
{
	static unsigned char back[4096];
	CUdeviceptr p = 0;
	CUcontext ctx;
	int rc = d->cuDevicePrimaryCtxRetain(&ctx, dev);

	if (!rc)
		rc = d->cuCtxSetCurrent(ctx);
	if (!rc)
		rc = d->cuMemAlloc_v2(&p, sizeof(back));
	if (!rc)
		rc = d->cuMemsetD8_v2(p, 0x5a, sizeof(back));
	if (!rc)
		rc = d->cuMemcpyDtoH_v2(back, p, sizeof(back));
	if (rc == CUDA_ERROR_OUT_OF_MEMORY)
		return NULL; /* full is not broken */
	if (rc)
		return cuda_err(d, rc, "a context, memory and a copy");
	for (unsigned i = 0; i < sizeof(back); i++)
		if (back[i] != 0x5a)
			return err_new("the device's memory does not hold what is written to it");
	return NULL;
}

static void __attribute__((noreturn)) probe(struct process *p, const struct cuda_driver *d, CUdevice dev, bool check)
{
	static struct ipc_x_device m;
	cleanup_err struct vgpu_err *e = describe_device(d, dev, &m.info);

	if (!e && check)
		e = compute(d, dev);

	if (e)
		end(p, VGPU_ERR_NO_DEVICE, e->text);
	process_tell(p, IPC_X_DEVICE, &m, sizeof(m));
	_exit(0);
}

/* Only this channel is mapped; env->bar is where the whole would begin, as offsets are from there. */
static struct vgpu_err *map_channel(struct exec_env *env)
{
	uint64_t at = VGPU_CHANNEL_OFF + (uint64_t)env->channel * VGPU_CHANNEL_STRIDE;
	char *m = mmap(NULL, VGPU_CHANNEL_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, env->memfd, (off_t)at);

	if (m == MAP_FAILED)
		return err_sys(errno, "mapping channel %u", env->channel);
	env->bar = m - at;
	return NULL;
}

static struct vgpu_err *process_init(struct process *p)
{
	msg_chan_init(&p->link, IPC_FD_SOCK, &ipc_table, IPC_EXECUTOR, IPC_BROKER);
	p->link.state = IPC_S_RUN;
	p->kick_fd = IPC_FD_KICK;
	pthread_mutex_init(&p->send_lock, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->answer_lock, NULL);
	pthread_mutex_init(&p->lease_lock, NULL);
	pthread_cond_init(&p->answered, NULL);
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->page = mmap(NULL, LEASE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, IPC_FD_LEASE, 0);
	if (p->stop_fd < 0 || p->page == MAP_FAILED)
		return err_sys(errno, "lease page");
	return NULL;
}

/* A spare learns whom it serves: once. Whatever else it is told means that nobody needs it any more. */
static void wait_channel(struct process *p, struct exec_env *env)
{
	struct pollfd f = {.fd = p->link.fd, .events = POLLIN};
	const struct ipc_channel *c;
	char why[128];
	struct msg m;
	int rc;

	p->link.state = IPC_S_START;
	process_tell(p, IPC_X_SPARE, NULL, 0);
	while ((rc = msg_recv(&p->link, &m, why, sizeof(why))) == 0)
		poll(&f, 1, -1);
	if (rc < 0 || m.type != IPC_CHANNEL)
		_exit(0);
	c = (const void *)m.payload;
	env->bar_size = c->bar_size;
	env->channel = c->channel;
	env->memfd = msg_take_fd(&m, 0);
	env->bell_fd = msg_take_fd(&m, 1);
	env->irq_fd = msg_take_fd(&m, 2);
	p->link.state = IPC_S_RUN;
}

static uint32_t serve(struct process *p, const struct arguments *a, struct cuda_driver *d)
{
	struct exec_env env = {.driver = d, .device = a->device, .memfd = IPC_FD_BAR, .bar_size = a->bar_size,
			       .channel = a->channel, .bell_fd = IPC_FD_BELL, .irq_fd = IPC_FD_IRQ,
			       .context_bytes = a->context_bytes, .ops = &process_ops, .ops_ctx = p, .stop = &p->stop, .stop_fd = p->stop_fd};
	cleanup_err struct vgpu_err *e = NULL;
	struct ipc_x_ready ready = {0};
	int rc = exec_prepare(&env);

	if (rc)
		e = cuda_err(d, rc, "creating the context");
	if (e)
		end(p, VGPU_ERR_NO_DEVICE, e->text);
	e = jail_close(&a->jail);
	if (!e && a->spare)
		wait_channel(p, &env);
	if (!e)
		e = map_channel(&env);
	if (e)
		end(p, VGPU_ERR_SPAWN, e->text);
	/* Before the thread that may have to say it again to a new broker. */
	process_tell(p, IPC_X_READY, &ready, sizeof(ready));
	if (process_start_control(p))
		end(p, VGPU_ERR_SPAWN, "control thread: not started");
	return (uint32_t)exec_serve(&env);
}

/* Of /dev/nvidiaN; -1: not known, as for a MIG instance. */
static int minor_of(const char *uuid)
{
	DIR *dir = opendir("/proc/driver/nvidia/gpus");
	int found = -1;

	for (struct dirent *e; dir && found < 0 && (e = readdir(dir));) {
		char path[300], text[4096], *at;
		ssize_t n = -1;
		int fd;

		snprintf(path, sizeof(path), "/proc/driver/nvidia/gpus/%s/information", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			n = read(fd, text, sizeof(text) - 1);
			close(fd);
		}
		text[n > 0 ? n : 0] = 0;
		at = strstr(text, uuid) ? strstr(text, "Device Minor:") : NULL;
		if (at && sscanf(at, "Device Minor: %d", &found) != 1)
			found = -1;
	}
	if (dir)
		closedir(dir);
	return found;
}

int main(int argc, char **argv)
{
	static struct process p;
	static struct cuda_driver d;
	struct arguments a = {0};
	cleanup_err struct vgpu_err *e = NULL;
	char dir[32];
	CUdevice dev;

	log_init("vgpu-executor", LOG_L_INFO);
	prctl(PR_SET_NAME, "vgpu-executor"); /* run by descriptor, it would be called by its number */
	prctl(PR_SET_TIMERSLACK, 1000);	     /* ns: gate_ending() counts in tens of microseconds */
	if (parse_arguments(argc, argv, &a)) {
		log_error("this program is started by vgpud, not by hand");
		return 2;
	}
	e = process_init(&p);
	if (e) {
		log_error("%s", e->text);
		return 1;
	}
	a.jail.minor = a.uuid[0] ? minor_of(a.uuid) : a.device;
	a.jail.nvidia = !access("/dev/nvidiactl", F_OK) && strstr(a.driver, "softcuda") == NULL;
	snprintf(dir, sizeof(dir), "/proc/self/fd/%d", IPC_FD_DRIVER);
	a.jail.driver_dir = dir;
	e = jail_enter(&a.jail);
	if (e)
		end(&p, VGPU_ERR_SPAWN, e->text);
	e = open_driver(&a, &d, &dev);
	if (e)
		end(&p, VGPU_ERR_NO_DEVICE, e->text);
	if (!a.bar_size && !a.spare)
		probe(&p, &d, dev, a.check);
	end(&p, serve(&p, &a, &d), "");
}
