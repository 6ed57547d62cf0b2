/* ThreadSanitizer knows that what was done before `epoll_ctl` is visible behind the `epoll_wait` that
 * tells of it, but only of the descriptor that it saw made, or copied by `dup`. tokio calls `epoll_ctl` on
 * a copy made by `fcntl`, which it does not watch: it would report each first event of every socket
 * as a race with the socket's registration. Preloaded, this makes the copy by `dup`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>

int fcntl(int descriptor, int command, ...) {
    int (*next)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command != F_DUPFD_CLOEXEC) {
        return next(descriptor, command, argument);
    }
    /* The one that ThreadSanitizer has put into the program, if this is such a program. */
    int copy = ((int (*)(int))dlsym(RTLD_DEFAULT, "dup"))(descriptor);
    if (copy >= 0) {
        next(copy, F_SETFD, FD_CLOEXEC);
    }
    return copy;
}
