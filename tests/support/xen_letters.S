# A guest of Xen, paravirtualized, that is there in a moment: it says that it is up on its console and then does what the
# first byte of its command line says.  s: waits some seconds and powers off; r: the same with a reboot; f: floods the
# console; anything else: waits for ever.  What it knows of Xen is in Xen's public headers: start_info (xen.h), the
# console's ring (io/console.h), sched_op (sched.h), event channels, ELF notes (elfnote.h).

	.set	SCHED_OP, 29
	.set	SHUTDOWN, 2
	.set	POLL, 3
	.set	EVENT_CHANNEL_OP, 32
	.set	SEND, 4
	.set	UPDATE_VA_MAPPING, 14
	.set	SHARED_INFO_AT, 40		# in start_info
	.set	CONSOLE_PORT_AT, 80
	.set	CMD_LINE_AT, 128
	.set	RING_FROM_START_INFO, 0x2000	# libxc lays out start_info, the store's page and the console's one after another
	.set	OUT_BYTES, 2048
	.set	OUT_AT, 1024
	.set	OUT_CONS, 0xc08
	.set	OUT_PROD, 0xc0c
	.set	TIME, 32			# in shared_info: of the first processor

	.globl	_start
_start:	cld
	mov	%rsi, %rbx
	lea	RING_FROM_START_INFO(%rbx), %rbp
	lea	shared(%rip), %rdi
	mov	SHARED_INFO_AT(%rbx), %rsi
	or	$0x27, %rsi			# present, writable, the kernel's and the user's, accessed
	mov	$2, %edx			# forget what was there
	mov	$UPDATE_VA_MAPPING, %eax
	syscall
	lea	banner(%rip), %r12
1:	mov	(%r12), %al
	test	%al, %al
	jz	2f
	call	put
	inc	%r12
	jmp	1b
2:	call	notify
	mov	CMD_LINE_AT(%rbx), %al
	xor	%r13d, %r13d			# why it shuts down: to power off
	cmp	$'s', %al
	je	down
	cmp	$'f', %al
	je	flood
	inc	%r13d				# to reboot
	cmp	$'r', %al
	je	down
stay:	lea	forever(%rip), %rsi
	call	poll
	jmp	stay

down:	mov	seconds(%rip), %rdi
	call	wait
	mov	%r13d, reason(%rip)
	mov	$SHUTDOWN, %edi
	lea	reason(%rip), %rsi
	mov	$SCHED_OP, %eax
	syscall
	jmp	stay

flood:	mov	$'x', %al
	call	put
	jmp	flood

# The byte in al goes into the ring, once there is room.
put:	mov	OUT_PROD(%rbp), %ecx
	mov	%ecx, %edx
	sub	OUT_CONS(%rbp), %edx
	cmp	$OUT_BYTES, %edx
	jb	1f
	push	%rax
	call	notify
	mov	$5000000, %edi			# ns
	call	wait
	pop	%rax
	jmp	put
1:	and	$(OUT_BYTES - 1), %ecx
	mov	%al, OUT_AT(%rbp,%rcx)
	incl	OUT_PROD(%rbp)
	ret

notify:	mov	CONSOLE_PORT_AT(%rbx), %eax
	mov	%eax, port(%rip)
	mov	$SEND, %edi
	lea	port(%rip), %rsi
	mov	$EVENT_CHANNEL_OP, %eax
	syscall
	ret

# For so many ns as rdi has the number of; events wake it before, and are nothing to it.
wait:	call	now
	add	%rdi, %rax
	mov	%rax, until+16(%rip)
1:	lea	until(%rip), %rsi
	call	poll
	call	now
	cmp	until+16(%rip), %rax
	jb	1b
	ret

poll:	mov	$POLL, %edi
	mov	$SCHED_OP, %eax
	syscall
	ret

# The time of Xen in ns (vcpu_time_info of xen.h), in rax.
now:	lea	shared+TIME(%rip), %r8
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	sub	8(%r8), %rax
	movsbl	28(%r8), %ecx
	test	%ecx, %ecx
	js	1f
	shl	%cl, %rax
	jmp	2f
1:	neg	%ecx
	shr	%cl, %rax
2:	mov	24(%r8), %edx
	mul	%rdx
	shrd	$32, %rdx, %rax
	add	16(%r8), %rax
	ret

	.balign	8
seconds: .quad	SECONDS * 1000000000
until:	.quad	0, 0, 0				# no ports; when
forever: .quad	0, 0, 0
port:	.long	0
reason:	.long	0
banner:	.asciz	"test guest is up\n"
	.balign	4096
shared:	.fill	4096

	.macro	note type, value:vararg
	.section .note.Xen, "a", @note
	.balign	4
	.long	4, 9f - 8f, \type
	.asciz	"Xen"
8:	\value
9:	.balign	4
	.endm
	note	1, .quad _start
	note	3, .quad 0			# virtual and real addresses are the same
	note	4, .quad 0
	note	5, .asciz "xen-3.0"
	note	6, .asciz "tests"
	note	8, .asciz "generic"
