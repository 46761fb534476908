/* Users and groups, looked up in files that anybody wrote. */
#include <string.h>

#include "../user.h"
#include "check.h"

static const char passwd[] =
	"# a comment\n"
	"\n"
	"root:x:0:0:root:/root:/bin/sh\n"
	"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\r\n"
	"user:x:1000:1001::/home/user:\n"
	"second:x:1000:5:::\n"
	"1234:x:77:78::/named:\n"
	":x:0:0:::\n"
	"nouid:x::5:::\n"
	"letters:x:12a:5:::\n"
	"huge:x:99999999999:5:::\n"
	"over:x:4294967296:5:::\n"
	"minus:x:-1:5:::\n"
	"short:x:5\n"
	"justname\n"
	"last:x:9:9::/last"; /* no newline */

static const char group[] =
	"root:x:0:\n"
	"users:x:1001:\n"
	"first:x:2001:other,user\n"
	"twice:x:2001:user\n"
	"part:x:2002:users,user2,xuser\n"
	"only:x:2003:user\n"
	"bad:x:abc:user\n"
	"number:x:77:\n"
	"many:x:2004:,,user,,\n";

static struct identity identity;
static struct failure failure;

static struct span span(const char *text)
{
	return (struct span){(const uint8_t *)text, strlen(text)};
}

static int find(const char *user)
{
	return identity_find(user, span(passwd), span(group), &identity, &failure);
}

static bool is(uint32_t uid, uint32_t gid, const char *home)
{
	return identity.uid == uid && identity.gid == gid && span_is(identity.home, home);
}

static void as_docker_does(void)
{
	CHECK(find("") == 0 && is(0, 0, "/root") && identity.group_count == 1);
	CHECK(find("user") == 0 && is(1000, 1001, "/home/user"));
	CHECK(identity.group_count == 4 && identity.groups[0] == 1001 && identity.groups[1] == 2001);
	CHECK(identity.groups[2] == 2003 && identity.groups[3] == 2004);
	CHECK(find("1000") == 0 && is(1000, 1001, "/home/user") && identity.group_count == 4); /* the first that fits */
	CHECK(find("second") == 0 && is(1000, 5, "/"));
	CHECK(find("daemon") == 0 && is(1, 1, "/usr/sbin"));
	CHECK(find("last") == 0 && is(9, 9, "/last"));
	CHECK(find("1234") == 0 && is(77, 78, "/named")); /* a name before a number */
	CHECK(find("5555") == 0 && is(5555, 0, "/") && identity.group_count == 1);
	CHECK(find("user:2001") == 0 && is(1000, 2001, "/home/user") && identity.group_count == 1);
	CHECK(find("user:only") == 0 && identity.gid == 2003);
	CHECK(find("5:6") == 0 && is(5, 6, "/"));
	CHECK(find(":6") == 0 && is(0, 6, "/root"));
	CHECK(find("0005") == 0 && identity.uid == 5);
	CHECK(find("2147483647:2147483647") == 0 && identity.uid == 2147483647);
}

static void what_is_not_there(void)
{
	static const char *const names[] = {"nobody", "nouid", "letters", "huge", "over", "minus", "short", "justname", "-1", " 0"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		CHECK(find(names[i]) != 0);
		CHECK(strstr(failure.text, "unable to find user"));
	}
	CHECK(find("2147483648") != 0 && strstr(failure.text, "must be in range"));
	CHECK(find("4294967296") != 0 && strstr(failure.text, "must be in range"));
	CHECK(find("99999999999999999999999999") != 0 && strstr(failure.text, "must be in range"));
	CHECK(find("user:nobody") != 0 && strstr(failure.text, "unable to find group nobody"));
	CHECK(find("user:bad") != 0);
	static char longest[600];
	memset(longest, 'a', sizeof longest - 1);
	CHECK(find(longest) != 0);
}

static void files_of_any_kind(void)
{
	static uint8_t zeros[1000];
	struct span nothing = {zeros, 0}, binary = {zeros, sizeof zeros};
	CHECK(identity_find("", nothing, nothing, &identity, &failure) == 0 && is(0, 0, "/"));
	CHECK(identity_find("7", binary, binary, &identity, &failure) == 0 && is(7, 0, "/"));
	CHECK(identity_find("root", binary, binary, &identity, &failure) != 0);
}

static void more_groups(void)
{
	CHECK(find("user") == 0);
	CHECK(identity_add("number", span(group), &identity, &failure) == 0 && identity.groups[4] == 77);
	CHECK(identity_add("4242", span(group), &identity, &failure) == 0 && identity.groups[5] == 4242);
	CHECK(identity_add("only", span(group), &identity, &failure) == 0 && identity.group_count == 6);
	CHECK(identity_add("nothing", span(group), &identity, &failure) != 0);
	char name[16];
	for (unsigned i = 0; identity.group_count < GROUPS_MAX; i++) {
		(void)snprintf(name, sizeof name, "%u", 100000 + i);
		CHECK(identity_add(name, span(group), &identity, &failure) == 0);
	}
	CHECK(identity_add("99", span(group), &identity, &failure) != 0);
}

int main(void)
{
	RUN(as_docker_does);
	RUN(what_is_not_there);
	RUN(files_of_any_kind);
	RUN(more_groups);
	return 0;
}
