/* SHUTDOWN: the last answer of a VM. */
#include "operations.h"
#include "serial.h"
#include "session.h"
#include "vm.h"

#define FLUSH_MS 2000

void op_shutdown(struct request *request)
{
	request_done(request, NULL, NULL);
	session_flush(FLUSH_MS);
	serial_drain(FLUSH_MS);
	vm_power_off();
}
