/* planner.h - plans a node: runs the task's plan function, cuts the outputs into segments, checks
 * that the pieces cover them, and decides for each piece whether it must be made or can be taken
 * over: from the previous outputs, or from a staged file that an interrupted build left. */
#ifndef PSYBUILD_ENGINE_PLAN_PLANNER_H
#define PSYBUILD_ENGINE_PLAN_PLANNER_H

#include "engine/plan/plan.h"

/* Plans a node whose needs are at hand. `out` lies in the node's arena. Stages nothing. */
MUST_CHECK struct error *plan_node(struct build *build, uint32_t node, struct plan **out);

#endif
