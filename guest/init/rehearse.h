#ifndef REHEARSE_H
#define REHEARSE_H

/* The exit status. */
int rehearse(void);

#endif
