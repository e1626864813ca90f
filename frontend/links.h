/*
 * links.h - the supervisor's messages: engines and peers that come and go, drain, stop
 */
#ifndef FRONTEND_LINKS_H
#define FRONTEND_LINKS_H

struct frontend;

/* Take every message that waits. */
void links_receive(void *frontend);

/* Tell the supervisor of engines whose rings broke a rule. */
void links_report(struct frontend *frontend);

#endif
