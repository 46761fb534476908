# A guest that a BIOS starts from a disc (pc_guest.py), at 0x7c00.  It says that it is up on the first serial port, what
# the first bytes of its two first disks are and what comes of writing to them, and then does what its last byte says:
# s: waits some tenths of a second and powers off (ACPI's PM1a control of VirtualBox); r: the same with a reset;
# t: with a triple fault; f: floods the port; w: writes to all of the first disk, again and again; else: sends what comes
# on the second serial port back on it.
	.code16
	.globl	_start
_start:	xor	%ax, %ax
	mov	%ax, %ss
	mov	%ax, %ds
	mov	%ax, %es
	mov	$0x7c00, %sp
	cld
	sti
	mov	$banner, %si
	call	puts
	cmpb	$'w', letter
	je	fill
	mov	$0x80, %dl
	call	disk
	mov	$0x81, %dl
	call	disk
	mov	letter, %al
	cmp	$'f', %al
	je	flood
	cmp	$'h', %al
	je	echo
	mov	$10, %bx		# of 18.2 in a second
1:	hlt
	dec	%bx
	jnz	1b
	cmp	$'s', %al
	je	off
	cmp	$'r', %al
	je	reset
	lidt	none
	int	$3
off:	mov	$0x4004, %dx
	mov	$0x3400, %ax
	out	%ax, %dx
	jmp	stop
reset:	mov	$0xfe, %al
	out	%al, $0x64
stop:	hlt
	jmp	stop
flood:	mov	$'x', %al
	call	putc
	jmp	flood

echo:	mov	$0x2fd, %dx
	in	%dx, %al
	test	$1, %al
	jz	echo
	mov	$0x2f8, %dx
	in	%dx, %al
	push	%ax
1:	mov	$0x2fd, %dx
	in	%dx, %al
	test	$0x20, %al
	jz	1b
	pop	%ax
	mov	$0x2f8, %dx
	out	%al, %dx
	jmp	echo

fill:	movw	$64, packet + 2		# sectors at a time
1:	mov	$0x4300, %ax
	mov	$0x80, %dl
	mov	$packet, %si
	int	$0x13
	mov	$'!', %al
	jc	2f
	mov	$'.', %al
2:	call	putc
	addl	$64, packet + 8
	cmpl	$16384, packet + 8
	jb	1b
	movl	$0, packet + 8
	mov	$'|', %al
	call	putc
	jmp	1b

# Of the disk in %dl: "D", two digits of a status, eight bytes of its first sector, the status of writing the third.
disk:	mov	%dl, drive
	mov	$'D', %al
	call	putc
	mov	$0x42, %ah
	call	bios
	jc	9f
	mov	$0x8000, %si
	mov	$8, %cx
2:	lodsb
	call	putc
	loop	2b
	movl	$0x21544157, 0x8000	# "WAT!"
	movl	$2, packet + 8
	mov	$0x43, %ah
	call	bios
9:	movl	$0, packet + 8
	mov	$10, %al
	jmp	putc

bios:	mov	$0, %al
	mov	drive, %dl
	mov	$packet, %si
	int	$0x13
	pushf
	mov	%ah, %bl
	mov	%ah, %al
	shr	$4, %al
	call	digit
	mov	%bl, %al
	and	$15, %al
	call	digit
	popf
	ret

digit:	add	$'0', %al
	cmp	$'9', %al
	jbe	putc
	add	$39, %al
putc:	push	%dx
	push	%ax
	mov	$0x3fd, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	$0x3f8, %dx
	pop	%ax
	out	%al, %dx
	pop	%dx
	ret
puts:	lodsb
	test	%al, %al
	jz	1f
	call	putc
	jmp	puts
1:	ret

	.align	4
packet:	.byte	16, 0
	.word	1, 0x8000, 0
	.quad	0
none:	.word	0, 0, 0
drive:	.byte	0
banner:	.asciz	"test guest is up\n"
letter:	.byte	'h'
