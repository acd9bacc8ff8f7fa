/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of a test VM: runs commands for the host over one virtio-serial port.
 *
 *   host -> guest   run ID LEN\n<LEN bytes of shell>     kill ID SIGNAL\n
 *   guest -> host   hello\n     out ID LEN\n<LEN bytes>  exit ID STATUS\n
 *
 * ID is a number below MAX_JOBS that the host does not reuse before its exit line; STATUS is the exit
 * status, or 128 + the signal. Standard output and error are one stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_JOBS 64
#define MAX_COMMAND (64 << 10)

struct job {
	pid_t pid;
	int out; /* pipe from the child, -1 = none */
};

static struct job jobs[MAX_JOBS];
static int port;
static int child_pipe[2];
static sigset_t quiet; /* SIGIO unblocked: the mask to wait with */
static volatile sig_atomic_t host_changed; /* the host's side of the port was opened or closed */

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(1); /* PID 1 ends: the kernel panics, the host sees it */
}

static void put(const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(port, p, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			die("write to host");
		if (n > 0) {
			p += n;
			len -= n;
		}
	}
}

/* Nobody at the other end: reads return 0, and poll() would not wait. The port tells by SIGIO when that
 * changes; it is blocked but here and in loop(), so none is lost between a look and a wait. */
static void wait_for_host(void)
{
	while (!host_changed)
		ppoll(NULL, 0, NULL, &quiet);
	host_changed = 0;
}

static void get(void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(port, p, len);

		if (n < 0 && errno != EINTR)
			die("read from host");
		if (n == 0)
			wait_for_host();
		if (n > 0) {
			p += n;
			len -= n;
		}
	}
}

static void get_line(char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		get(&line[n], 1);
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = 0;
}

static void forward(unsigned id, int until_empty)
{
	char buf[4096], head[64];
	ssize_t n;

	while (jobs[id].out >= 0 && (n = read(jobs[id].out, buf, sizeof buf)) != -1) {
		if (n == 0) {
			close(jobs[id].out);
			jobs[id].out = -1;
			return;
		}
		put(head, snprintf(head, sizeof head, "out %u %zd\n", id, n));
		put(buf, n);
		if (!until_empty)
			return;
	}
}

static void start(unsigned id, char *command)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		die("pipe");
	jobs[id].pid = fork();
	if (jobs[id].pid < 0)
		die("fork");
	if (jobs[id].pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	jobs[id].out = fd[0];
}

static void obey(void)
{
	static char command[MAX_COMMAND + 1];
	char line[128];
	unsigned id, n;

	get_line(line, sizeof line);
	if (sscanf(line, "run %u %u", &id, &n) == 2 && id < MAX_JOBS && n <= MAX_COMMAND) {
		get(command, n);
		command[n] = 0;
		start(id, command);
	} else if (sscanf(line, "kill %u %u", &id, &n) == 2 && id < MAX_JOBS && jobs[id].pid > 0) {
		kill(-jobs[id].pid, n);
	}
}

static void reap(void)
{
	char head[64];
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned id = 0; id < MAX_JOBS; id++) {
			if (jobs[id].pid != pid)
				continue;
			forward(id, 1);
			if (jobs[id].out >= 0)
				close(jobs[id].out);
			jobs[id].out = -1;
			jobs[id].pid = 0;
			put(head, snprintf(head, sizeof head, "exit %u %d\n", id,
					   WIFEXITED(status) ? WEXITSTATUS(status)
							     : 128 + WTERMSIG(status)));
			break;
		}
	}
}

static void on_child(int sig)
{
	ssize_t n = write(child_pipe[1], "", 1);

	(void)n;
}

static void on_io(int sig)
{
	host_changed = 1;
}

static void watch_host(void)
{
	struct sigaction sa = {.sa_handler = on_io};
	sigset_t io;

	sigemptyset(&io);
	sigaddset(&io, SIGIO);
	sigprocmask(SIG_BLOCK, &io, &quiet);
	sigdelset(&quiet, SIGIO);
	sigaction(SIGIO, &sa, NULL);
	if (fcntl(port, F_SETOWN, getpid()) || fcntl(port, F_SETFL, fcntl(port, F_GETFL) | O_ASYNC))
		die("SIGIO of the port");
}

static void loop(void)
{
	struct pollfd p[MAX_JOBS + 2];
	unsigned of[MAX_JOBS + 2];
	int gone = 0; /* the host's side is closed */

	for (;;) {
		char c[64];
		unsigned n = 2;

		p[0] = (struct pollfd){.fd = gone ? -1 : port, .events = POLLIN};
		p[1] = (struct pollfd){.fd = child_pipe[0], .events = POLLIN};
		for (unsigned id = 0; id < MAX_JOBS; id++) {
			if (jobs[id].out < 0)
				continue;
			of[n] = id;
			p[n++] = (struct pollfd){.fd = jobs[id].out, .events = POLLIN};
		}
		if (ppoll(p, n, NULL, &quiet) < 0 && errno != EINTR)
			die("poll");
		if (host_changed)
			gone = host_changed = 0;
		for (unsigned i = 2; i < n; i++)
			if (p[i].revents)
				forward(of[i], 0);
		if (p[1].revents && read(child_pipe[0], c, sizeof c) > 0)
			reap();
		if (p[0].revents & POLLIN)
			obey();
		else if (p[0].revents)
			gone = 1;
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};

	if (argc != 2) {
		fprintf(stderr, "usage: agent PORT\n");
		return 2;
	}
	for (unsigned id = 0; id < MAX_JOBS; id++)
		jobs[id].out = -1;
	port = open(argv[1], O_RDWR | O_CLOEXEC);
	if (port < 0)
		die(argv[1]);
	if (pipe2(child_pipe, O_CLOEXEC | O_NONBLOCK))
		die("pipe");
	sigaction(SIGCHLD, &sa, NULL);
	watch_host();
	put("hello\n", 6);
	loop();
}
