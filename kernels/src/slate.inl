#include "greedy.inl"

#include "../src/mmr.inl"

#include "../src/dpp.inl"
