/* test_build_places.c */
int main(void){return 0;}
