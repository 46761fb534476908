/* Asks the SSH agent for its identities and says of which kind the answer is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("SSH_AUTH_SOCK");
	unsigned char answer[64];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (!path || fd < 0)
		return 1;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 || write(fd, "\0\0\0\1\13", 5) != 5)
		return 2;
	/* The length and what is said come in pieces of their own, as whoever passes them on has written them. */
	for (ssize_t have = 0, got; have < 5; have += got) {
		if ((got = read(fd, answer + have, sizeof answer - (size_t)have)) <= 0)
			return 3;
	}
	printf("%d\n", answer[4]);
	return 0;
}
