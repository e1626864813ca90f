/*
 * handlers.h - one function per endpoint, called by the dispatcher with a request that passed
 * method, key, size and type
 */
#ifndef FRONTEND_HANDLERS_H
#define FRONTEND_HANDLERS_H

struct frontend;
struct http_request;

void chat_handle(struct frontend *frontend, struct http_request *request);
void completions_handle(struct frontend *frontend, struct http_request *request);
void models_handle_list(struct frontend *frontend, struct http_request *request);
void models_handle_one(struct frontend *frontend, struct http_request *request);
void health_handle(struct frontend *frontend, struct http_request *request);
void health_handle_live(struct frontend *frontend, struct http_request *request);
void health_handle_startup(struct frontend *frontend, struct http_request *request);
void version_handle(struct frontend *frontend, struct http_request *request);
void metrics_handle(struct frontend *frontend, struct http_request *request);
void stats_handle(struct frontend *frontend, struct http_request *request);
void index_handle(struct frontend *frontend, struct http_request *request);

#endif
