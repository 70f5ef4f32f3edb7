/* A program into which nothing can be preloaded, for test-run.sh. */
#include <stdio.h>

int main(void)
{
	puts("static");
	return 3;
}
