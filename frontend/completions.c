#include "frontend/admission.h"
#include "frontend/handlers.h"

void completions_handle(struct frontend *frontend, struct http_request *request)
{
    admission_begin(frontend, request, WIRE_COMPLETIONS);
}
