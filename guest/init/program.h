/* The container's program: its environment, and its exec as Docker does and words it. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "util.h"

/* ARG* or ENV* as a vector that ends with NULL, with room for one more; NULL when memory is short. */
char **program_vector(struct span fields, uint16_t tag);

/* Adds HOME where it is missing. */
int program_home(char **environment, struct span home);

/* Returns only when it fails. */
int program_exec(char *const *arguments, char *const *environment, struct failure *failure);

#endif
