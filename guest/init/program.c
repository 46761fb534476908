#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

char **program_vector(struct span fields, uint16_t tag)
{
	struct span rest = fields, each;
	size_t count = 0;
	while (field_each(&rest, tag, &each))
		count++;
	char **vector = calloc(count + 2, sizeof *vector);
	if (!vector)
		return NULL;
	for (count = 0; field_each(&fields, tag, &each); count++) {
		vector[count] = span_text(each);
		if (!vector[count])
			return NULL;
	}
	return vector;
}

static const char *variable(char *const *environment, const char *name)
{
	size_t length = strlen(name);
	for (; *environment; environment++) {
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	}
	return NULL;
}

int program_home(char **environment, struct span home)
{
	if (variable(environment, "HOME"))
		return 0;
	while (*environment)
		environment++;
	char *entry = malloc(sizeof "HOME=" + home.length);
	if (!entry)
		return -1;
	(void)sprintf(entry, "HOME=%.*s", (int)home.length, (const char *)home.data);
	*environment = entry;
	return 0;
}

static int refuse(const char *program, int error, struct failure *failure)
{
	struct stat info;
	if (error == EACCES && stat(program, &info) == 0 && S_ISDIR(info.st_mode))
		return fail(failure, EISDIR, "exec: \"%s\": is a directory: permission denied", program);
	/* The file is there, and what its first line or header names is not. */
	if (error == ENOENT && stat(program, &info) == 0)
		return fail(failure, error, "exec %s: no such file or directory", program);
	if (error == ENOENT || error == ENOTDIR)
		return fail(failure, error, "exec: \"%s\": stat %s: %s", program, program, reason(error));
	if (error == ENOEXEC)
		return fail(failure, error, "exec %s: exec format error", program);
	return fail(failure, error, "exec: \"%s\": %s", program, reason(error));
}

int program_exec(char *const *arguments, char *const *environment, struct failure *failure)
{
	const char *program = arguments[0], *path = variable(environment, "PATH");
	char candidate[PATH_MAX];
	if (!*program)
		return fail(failure, ENOENT, "exec: \"\": executable file not found in $PATH");
	if (strchr(program, '/')) {
		(void)execve(program, arguments, environment);
		return refuse(program, errno, failure);
	}
	for (path = path ? path : DEFAULT_PATH; path; path = strchr(path, ':') ? strchr(path, ':') + 1 : NULL) {
		int length = (int)strcspn(path, ":");
		if (snprintf(candidate, sizeof candidate, "%.*s%s/%s", length, path, length ? "" : ".", program) >=
		    (int)sizeof candidate)
			continue;
		(void)execve(candidate, arguments, environment);
		/* A directory that this user may not search, or a file that is no program: on to the next, as Docker does. */
		if (errno == ENOENT && access(candidate, F_OK) == 0)
			return refuse(candidate, ENOENT, failure);
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			return refuse(candidate, errno, failure);
	}
	return fail(failure, ENOENT, "exec: \"%s\": executable file not found in $PATH", program);
}
