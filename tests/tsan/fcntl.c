/* ThreadSanitizer knows that an `epoll_wait` happens after the `epoll_ctl` whose event it returns, but only
 * for descriptors whose creation, or copy by `dup`, it has intercepted. tokio calls `epoll_ctl` on a copy
 * made by `fcntl`, which ThreadSanitizer does not intercept: it would report the first event of every
 * socket as a race with the socket's registration. Preloaded, this file makes the copy by `dup`. */

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
    /* Finds the `dup` that ThreadSanitizer intercepts, if the program is built with it. */
    int copy = ((int (*)(int))dlsym(RTLD_DEFAULT, "dup"))(descriptor);
    if (copy >= 0) {
        next(copy, F_SETFD, FD_CLOEXEC);
    }
    return copy;
}
