#include "frontend/generation.h"
#include "frontend/handlers.h"

void completions_handle(struct frontend *frontend, struct http_request *request)
{
    generation_begin(frontend, request, WIRE_COMPLETIONS);
}
